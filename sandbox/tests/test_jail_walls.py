import os
import socket
import sys

import instar_sandbox
import pytest
from instar_sandbox import JailError, Limits, NoPlatform, Program, start
from instar_sandbox.errors import WallError
from instar_sandbox.jail import child, landlock, namespaces, seccomp

LIMITS = Limits(10, 1 << 30, 30)
ROOT = os.geteuid() == 0
STANDING = {wall.name: wall.works for wall in instar_sandbox.walls()}

needs_namespaces = pytest.mark.skipif(not STANDING["empty root folder"], reason="no namespaces on this machine")
needs_landlock = pytest.mark.skipif(not STANDING["Landlock"], reason="no Landlock on this machine")
needs_root = pytest.mark.skipif(not ROOT, reason="only root has an id to leave")


def alone(wall, deed, rest=""):
    """What the deed meets when no wall but this stands."""
    off = child.WALLS - {wall}
    program = Program("jailed_deeds", f"{deed} {rest}".encode())
    with start("process", program, [], LIMITS, server=False, unsafe_walls_off=off) as session:
        return eval(session.receive())


def test_without_walls_the_deeds_succeed(tmp_path):
    assert isinstance(alone("", "try_open", "/etc/passwd"), int)
    assert isinstance(alone("", "try_fork"), int)
    assert alone("", "try_write", tmp_path / "file") == 4
    assert "etc" in alone("", "try_list", "/")


def test_limits_alone_stop_opening():
    assert alone("limits", "try_open", "/etc/passwd") == "EMFILE"


@needs_root
def test_limits_and_an_unprivileged_user_stop_forking():
    off = child.WALLS - {"limits", "privileges"}
    with start(
        "process", Program("jailed_deeds", b"try_fork"), [], LIMITS, server=False, unsafe_walls_off=off
    ) as session:
        assert eval(session.receive()) == "EAGAIN"


@needs_landlock
def test_landlock_alone_stops_opening():
    assert alone("landlock", "try_open", "/etc/passwd") == "EACCES"
    assert alone("landlock", "try_list", "/") == "EACCES"


@needs_landlock
def test_landlock_alone_stops_signals_to_others():
    if landlock.abi() < 6:
        pytest.skip("this Landlock knows no scopes")
    assert alone("landlock", "try_signal", os.getpid()) == "EPERM"


@needs_namespaces
def test_namespaces_alone_hide_every_file():
    assert alone("namespaces", "try_list", "/") in ([], "EACCES")
    assert alone("namespaces", "try_open", "/etc/passwd") in ("ENOENT", "EACCES")


@needs_namespaces
def test_namespaces_alone_stop_the_network():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        assert alone("", "try_connect", listener.getsockname()[1]) is None
        assert alone("namespaces", "try_connect", listener.getsockname()[1]) == "ENETUNREACH"


@needs_root
def test_privileges_alone_make_root_nobody():
    nobody = (65534,) * 3
    assert alone("privileges", "try_become_root") == ("EPERM", nobody, nobody, [])


def test_privileges_alone_leave_no_capability():
    seen = alone("privileges", "status")
    names = "CapInh", "CapPrm", "CapEff", "CapAmb", *(("CapBnd",) if ROOT else ())
    assert {name: int(seen[name], 16) for name in names} == dict.fromkeys(names, 0)


def test_no_new_privileges_is_set_whatever_else_is_left_out():
    assert alone("", "status")["NoNewPrivs"] == "1"


def test_the_seal_reaches_every_call_of_the_process():
    assert alone("", "status")["Seccomp"] == "0"
    with pytest.raises(JailError, match="forbidden system call"):
        alone("seccomp", "status")


def test_a_worker_dies_with_its_parent_and_has_fresh_signals():
    assert alone("", "signals_and_parent") == (9, 0, [2], set())


def test_nothing_but_its_own_descriptors_is_open_in_a_worker(tmp_path):
    secret = os.open(tmp_path / "secret", os.O_RDWR | os.O_CREAT)
    os.set_inheritable(secret, True)
    high = os.dup2(secret, 200)
    try:
        assert alone("", "open_descriptors") == [0, 1, 2, 3, 4]
        assert alone("", "where_output_goes") == ["/dev/null"] * 3
    finally:
        os.close(secret)
        os.close(high)


@pytest.mark.parametrize("order", [(3, 4), (4, 3), (5, 6), (6, 5), (4, 8)])
def test_files_that_stand_in_each_others_way_are_renumbered_right(order, tmp_path):
    pid = os.fork()
    if pid == 0:  # in a child, where descriptors 3 and up can be had
        code = 1
        try:
            for number in order:
                file = os.open(tmp_path / str(number), os.O_RDWR | os.O_CREAT)
                os.write(file, b"number %d" % number)
                if file != number:
                    os.dup2(file, number)
                    os.close(file)
            with start("process", Program("jailed_deeds", b"read_files"), order, LIMITS) as session:
                answer = eval(session.receive())
            code = answer != [(5, b"number %d" % order[0]), (6, b"number %d" % order[1])]
        finally:
            os._exit(code)
    assert os.waitpid(pid, 0)[1] == 0


@pytest.mark.parametrize("missing", ["landlock", "namespaces"])
def test_a_machine_without_a_best_effort_wall_still_confines(missing, monkeypatch):
    def absent(*_):
        raise WallError("masked")

    monkeypatch.setattr(
        landlock if missing == "landlock" else namespaces, {"landlock": "restrict"}.get(missing, "enter"), absent
    )
    with start("process", Program("jailed_deeds", b"say still here"), [], LIMITS, server=False) as session:
        assert eval(session.receive()) == "still here"
    with (
        start("process", Program("jailed_deeds", b"open_file /etc/passwd"), [], LIMITS, server=False) as session,
        pytest.raises(JailError, match="forbidden system call"),
    ):
        session.receive()


def test_a_machine_without_seccomp_is_refused(monkeypatch):
    def absent(*_):
        raise OSError(22, "Invalid argument")

    monkeypatch.setattr(seccomp.libc, "call", absent)
    with pytest.raises(NoPlatform, match=r"^no platform: the kernel cannot confine a process") as caught:
        start("auto", Program("jailed_deeds", b"say x"), [], LIMITS)
    assert caught.value.cause == "no platform"


def test_a_worker_whose_seal_fails_never_serves(monkeypatch):
    def refuse(files, processor):
        raise WallError("the system-call filter was refused: masked")

    monkeypatch.setattr(seccomp, "seal", refuse)
    with (
        start("process", Program("jailed_deeds", b"say x"), [], LIMITS, server=False) as session,
        pytest.raises(JailError, match=r"^the worker's walls could not be raised: the system-call filter") as caught,
    ):
        session.receive()
    assert caught.value.cause == "wall"


@pytest.mark.parametrize("machine", ["riscv64", "i686"])
def test_an_unknown_machine_is_refused(machine):
    from instar_sandbox.jail.syscalls import numbers

    with pytest.raises(NoPlatform, match=f"does not know the system calls of this {machine}"):
        numbers(machine)


@pytest.mark.parametrize("platform", ["kvm", "none", ""])
def test_a_platform_that_is_not_there_is_refused(platform):
    with pytest.raises(NoPlatform, match="no platform"):
        start(platform, Program("jailed_deeds"), [], LIMITS)


def test_the_report_names_every_wall_and_leaves_the_caller_as_it_was():
    before = os.getresuid(), os.getcwd(), sorted(os.listdir("/proc/self/fd"))
    walls = instar_sandbox.walls()
    assert [wall.name for wall in walls if wall.mandatory] == [
        "closed descriptors",
        "resource limits",
        "no capabilities",
        "bound to its parent",
        "no new privileges",
        "seccomp",
    ]
    assert all(wall.works for wall in walls if wall.mandatory), walls
    assert (os.getresuid(), os.getcwd(), sorted(os.listdir("/proc/self/fd"))) == before
    with open("/proc/self/status") as status:
        assert "NoNewPrivs:\t0" in status.read()


@needs_landlock
def test_the_report_shows_a_wall_that_is_missing(monkeypatch):
    monkeypatch.setattr(landlock, "CREATE_RULESET_VERSION", 1 << 20)
    (wall,) = [wall for wall in instar_sandbox.walls() if wall.name == "Landlock"]
    assert (wall.mandatory, wall.works) == (False, False)
    assert wall.why.startswith("the kernel has no Landlock")


@needs_root
def test_an_unprivileged_user_has_the_same_walls():
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            import jailed_deeds  # noqa: F401  while it can still be read

            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
            with start("process", Program("jailed_deeds", b"say hello"), [], LIMITS, server=False) as session:
                good = eval(session.receive()) == "hello"
            with start(
                "process", Program("jailed_deeds", b"open_file /etc/passwd"), [], LIMITS, server=False
            ) as session:
                try:
                    session.receive()
                except JailError as error:
                    good = good and error.cause == "forbidden call"
            if STANDING["namespaces"]:
                good = good and alone("namespaces", "try_open", "/etc/passwd") in ("ENOENT", "EACCES")
            code = 0 if good else 2
        except BaseException as error:
            sys.__stderr__.write(f"{error!r}\n")
        finally:
            os._exit(code)
    assert os.waitpid(pid, 0)[1] == 0
