import os
import platform
import subprocess
import sys
import threading
import time

import pytest
from instar_sandbox import JailError, Limits, Program, platforms, remote, start
from instar_sandbox.session import PipeSession

LIMITS = Limits(10, 1 << 30, 30)
ECHO = Program("jailed_deeds", b"echo")


def descriptors():
    return sorted(os.listdir("/proc/self/fd"))


def children():
    with open(f"/proc/self/task/{threading.get_native_id()}/children") as file:
        return file.read().split()


@pytest.mark.parametrize("server", [False, True])
def test_two_hundred_sessions_leave_no_child_and_no_descriptor(server):
    start("process", ECHO, [], LIMITS, server=server).close()
    before = descriptors(), children()
    for number in range(200):
        session = start("process", ECHO, [], LIMITS, server=server)
        if number % 2:
            session.send(b"hello")
            assert session.receive() == b"hello"
        session.close()
    assert (descriptors(), children()) == before


def test_sessions_that_fail_leave_no_child_and_no_descriptor():
    before = descriptors(), children()
    for deed in (b"make_socket", b"leave 0", b"prepare_fails", b"announce_a_giant", b"read_nowhere"):
        session = start("process", Program("jailed_deeds", deed), [], LIMITS)
        with pytest.raises(JailError):
            session.receive()
    assert (descriptors(), children()) == before


def test_a_session_that_is_forgotten_leaves_no_child():
    before = descriptors(), children()
    session = start("process", ECHO, [], LIMITS)
    del session
    assert (descriptors(), children()) == before


def test_a_session_can_be_closed_twice_and_fails_afterwards():
    session = start("process", ECHO, [], LIMITS)
    session.close()
    session.kill()
    session.close()
    with pytest.raises(JailError, match="the session is closed"):
        session.receive()
    with pytest.raises(JailError, match="the session is closed"):
        session.send(b"x")


def test_many_sessions_run_at_once():
    sessions = [start("process", ECHO, [], LIMITS) for _ in range(12)]
    for number, session in enumerate(sessions):
        session.send(b"%d" % number)
    assert [session.receive() for session in sessions] == [b"%d" % number for number in range(12)]
    sessions[5].close()
    sessions[6].send(b"still here")
    assert sessions[6].receive() == b"still here"
    for session in sessions:
        session.close()


def test_a_child_never_flushes_what_its_parent_has_written():
    code = (
        "import sys; sys.path[:0] = sys.argv[1:]\n"
        "import atexit; atexit.register(print, 'bye')\n"
        "import instar_sandbox as s\n"
        "sys.stdout.write('once,')\n"
        "for deed in (b'say x', b'prepare_fails', b'make_socket'):\n"
        "    with s.start('process', s.Program('jailed_deeds', deed), [], s.Limits()) as session:\n"
        "        try: session.receive()\n"
        "        except s.JailError: pass\n"
    )
    made = subprocess.run([sys.executable, "-c", code, *sys.path], capture_output=True, text=True, check=True)
    assert (made.stdout, made.stderr) == ("once,bye\n", "")


def test_a_worker_dies_when_its_parent_is_killed():
    code = (
        "import sys, os; sys.path[:0] = sys.argv[1:]\n"
        "import instar_sandbox as s\n"
        "for server in (False, True):\n"
        "    x = s.start('process', s.Program('jailed_deeds', b'echo'), [], s.Limits(), server=server)\n"
        "    x.send(b'hello'); x.receive()\n"
        "    globals()[f'kept{server}'] = x\n"
        "from instar_sandbox import remote\n"
        "print(x and globals()['keptFalse']._worker._pid, remote.SERVER.pid, flush=True)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    made = subprocess.run([sys.executable, "-c", code, *sys.path], capture_output=True, text=True, check=False)
    assert made.returncode == -9
    pids = made.stdout.split()
    assert len(pids) == 2
    for _ in range(200):
        if not any(alive(pid) for pid in pids):
            return
        time.sleep(0.02)
    pytest.fail(f"still alive: {pids}")


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_a_process_with_threads_takes_the_fork_server():
    assert not platforms.crowded(1 << 40)
    stop = threading.Event()
    thread = threading.Thread(target=stop.wait)
    thread.start()
    try:
        assert platforms.crowded(1 << 40)
    finally:
        stop.set()
        thread.join()


def test_a_process_that_maps_much_takes_the_fork_server():
    assert platforms.crowded(1 << 20)


def test_threads_can_have_sessions_at_the_same_time():
    results = {}

    def use(number):
        for turn in range(5):
            with start("process", ECHO, [], LIMITS) as session:
                session.send(b"%d.%d" % (number, turn))
                results[number, turn] = session.receive()

    threads = [threading.Thread(target=use, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {(number, turn): b"%d.%d" % (number, turn) for number in range(6) for turn in range(5)}


def test_the_fork_server_starts_again_after_it_died():
    with start("process", ECHO, [], LIMITS, server=True) as session:
        session.send(b"one")
        assert session.receive() == b"one"
        first = remote.SERVER.pid
        os.kill(first, 9)
        with pytest.raises(JailError):
            session.receive()
    with start("process", ECHO, [], LIMITS, server=True) as session:
        session.send(b"two")
        assert session.receive() == b"two"
    assert remote.SERVER.pid != first
    assert not alive(first)


def test_a_stopped_fork_server_is_gone():
    start("process", ECHO, [], LIMITS, server=True).close()
    pid = remote.SERVER.pid
    remote.SERVER.stop()
    assert not alive(pid)
    assert str(pid) not in children()


@pytest.mark.parametrize("server", [False, True])
def test_a_worker_takes_many_files(server, tmp_path):
    opened = []
    try:
        for number in range(700):
            (tmp_path / str(number)).write_bytes(b"%d" % number)
            opened.append(os.open(tmp_path / str(number), os.O_RDONLY))
        with start("process", Program("jailed_deeds", b"read_files"), opened, LIMITS, server=server) as session:
            assert eval(session.receive()) == [(5 + number, b"%d" % number) for number in range(700)]
    finally:
        for descriptor in opened:
            os.close(descriptor)


def test_the_fork_server_sees_no_environment_of_its_caller(monkeypatch):
    remote.SERVER.stop()
    monkeypatch.setenv("OS_PASSWORD", "secret")
    with start("process", Program("jailed_deeds", b"environment"), [], LIMITS, server=True) as session:
        assert "OS_PASSWORD" not in eval(session.receive())


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library, with other ways of its own")
def test_large_buffers_of_a_served_worker_are_not_given_back_and_faulted_in_anew_each_time():
    with start("process", Program("jailed_deeds", b"large_buffer_is_on_the_heap"), [], LIMITS, server=True) as session:
        assert eval(session.receive()) is True


def test_the_fork_server_finds_modules_where_its_caller_does(tmp_path, monkeypatch):
    start("process", ECHO, [], LIMITS, server=True).close()
    pid = remote.SERVER.pid
    (tmp_path / "jailed_late.py").write_text(
        "def prepare(argument, descriptors): return argument\ndef serve(state, channel): channel.send(state)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    with start("process", Program("jailed_late", b"found"), [], LIMITS, server=True) as session:
        assert session.receive() == b"found"
    assert remote.SERVER.pid == pid


def test_a_program_forked_off_has_a_fork_server_of_its_own():
    with start("process", ECHO, [], LIMITS, server=True) as session:
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                with start("process", ECHO, [], LIMITS, server=True) as other:
                    other.send(b"mine")
                    code = other.receive() != b"mine"
                remote.SERVER.stop()
                del session
            finally:
                os._exit(code)
        assert os.waitpid(pid, 0)[1] == 0
        session.send(b"still mine")
        assert session.receive() == b"still mine"


def test_a_program_may_be_longer_than_a_pipe():
    argument = b"say " + b"x" * (5 << 20)
    for server in (False, True):
        with start("process", Program("jailed_deeds", argument), [], LIMITS, server=server) as session:
            assert len(session.receive()) == (5 << 20) + 2


class Chatterbox:
    """A worker whose pipe always has frames to read."""

    frames = b"\1\0\0\0x" * 1000

    def __init__(self):
        self.read, self.write = os.pipe()
        os.write(self.write, self.frames)

    def end(self):
        os.close(self.write)
        return 9, 0.0


def test_a_worker_that_always_has_something_to_say_does_not_outlive_its_deadline():
    worker = Chatterbox()
    session = PipeSession(worker, worker.read, os.open("/dev/null", os.O_WRONLY), Limits(wall=0.05), 1)
    assert session.receive() == b"x"
    os.write(worker.write, worker.frames)
    time.sleep(0.06)
    for _ in range(999):  # these had arrived in time
        assert session.receive() == b"x"
    with pytest.raises(JailError, match=r"ran past its deadline of 0\.05 s"):
        session.receive()
