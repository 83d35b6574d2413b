"""The suite itself: each thing that it claims to notice is done to it."""

import fcntl
import functools
import os
import signal
import time

import instar_sandbox
import pytest
from instar_sandbox.containment import canary as canaries
from instar_sandbox.containment import deeds, leaks, suite
from instar_sandbox.containment.acts.instructions import INSTRUCTIONS
from instar_sandbox.containment.catalogue import THOROUGH, machine, outside
from instar_sandbox.containment.deed import NEVER, QUICK, X86_64, Deed
from instar_sandbox.errors import Cause, JailError
from instar_sandbox.jail.child import WALLS

UNWALLED = functools.partial(instar_sandbox.start, "process", server=False, unsafe_walls_off=WALLS)
WALLED = functools.partial(instar_sandbox.start, "process")
PARENTS = (b"kill -1", b"kill-group", b"limit-parent", b"renice-parent", b"pin-parent")
"""Orders that would outlive the test where nothing stops them."""
STOPPED = {
    order
    for deed in (*outside.FILES, *outside.DESCRIPTORS, *outside.PROCESSES)
    if deed.causes == {Cause.FORBIDDEN}
    for order in deed.orders
} - set(PARENTS)

RAW = sorted(set(machine.CALLS) - {"vfork", "clone", "shmget"})
"""Left out: what would run this program twice, and what would stay behind."""

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can do to another process what is to be noticed")


def once(start, order, causes=NEVER, survives=()):
    with canaries.Canary() as canary:
        return suite.tried(start, canary, Deed("test", "test", "test", frozenset(causes), (order,), survives, QUICK))


@pytest.mark.parametrize("order", sorted(STOPPED), ids=lambda order: order.decode())
def test_a_call_that_nothing_stops_does_not_pass_for_contained(order):
    survives = next(deed.survives for deed in suite.DEEDS if order in deed.orders)
    outcome = once(UNWALLED, order, {Cause.FORBIDDEN}, survives)
    assert not outcome.contained
    assert "broken" not in outcome.text


@pytest.mark.skipif(os.uname().machine != X86_64, reason="numbers of x86_64")
@pytest.mark.parametrize("name", RAW)
def test_a_raw_call_that_nothing_stops_does_not_pass_for_contained(name):
    outcome = once(UNWALLED, b"call " + machine.CALLS[name], {Cause.FORBIDDEN})
    assert not outcome.contained
    assert "broken" not in outcome.text


@pytest.mark.parametrize(
    ("order", "harm"),
    [
        (b"overwrite", "the file has other content"),
        (b"truncate", "the file has other attributes"),
        (b"unlink", "the folder holds other files"),
        (b"create", "the folder holds other files"),
        (b"chmod", "the file has other attributes"),
        (b"seek image", "the shared position has moved"),
        (b"read image", "the shared position has moved"),
        (b"read-at-position", "the shared position has moved"),
        (b"set-flags", "the flags of a shared file have changed"),
        (b"ftruncate shared", "shared memory has another size"),
        (b"kill parent", "the host received signal 23"),
        pytest.param(b"overwrite-foreign 0", "another file has other content", marks=needs_root),
        pytest.param(b"overwrite-foreign 1", "a pipe holds other bytes", marks=needs_root),
        pytest.param(b"renice-parent", "the host's limits have changed", marks=needs_root),
    ],
    ids=lambda value: value.decode() if isinstance(value, bytes) else "",
)
def test_a_harm_that_nothing_stops_is_noticed(order, harm):
    before = os.getpriority(os.PRIO_PROCESS, 0)
    try:
        outcome = once(UNWALLED, order, {Cause.FORBIDDEN}, (b"survived: ", b"refused: "))
    finally:
        if os.getpriority(os.PRIO_PROCESS, 0) != before:
            os.setpriority(os.PRIO_PROCESS, 0, before)
    assert not outcome.contained
    assert harm in outcome.text


def test_every_harm_has_its_name():
    with canaries.Canary() as canary:
        secret, tell, hear, near, far = canary._held
        for harm, name in [
            (lambda: os.lseek(canary.image, 1, os.SEEK_CUR), "the shared position has moved"),
            (lambda: os.lseek(secret, 1, os.SEEK_CUR), "the position of another file has moved"),
            (lambda: os.pwrite(secret, b"x", 0), "another file has other content"),
            (lambda: os.write(tell, b"x"), "a pipe holds other bytes"),
            (lambda: os.read(hear, 1), "a pipe holds other bytes"),
            (lambda: os.write(near, b"x"), "a socket holds other bytes"),
            (lambda: os.read(near, 1), "a socket holds other bytes"),
            (lambda: fcntl.fcntl(far, fcntl.F_SETFL, os.O_NONBLOCK), "the flags of a shared file have changed"),
            (lambda: os.ftruncate(canary.shared, 1), "shared memory has another size"),
            (lambda: os.chmod(canary.path, 0o600), "the file has other attributes"),
            (lambda: canary._victim.__setitem__(0, 0), "the host's memory has changed"),
            (lambda: os.kill(os.getpid(), signal.SIGURG), f"the host received signal 23 from process {os.getpid()}"),
        ]:
            assert canary.harms() == []
            harm()
            assert canary.harms() == [name]


def test_a_canary_leaves_signals_files_and_descriptors_as_they_were():
    def state():
        return signal.pthread_sigmask(signal.SIG_BLOCK, ()), sorted(os.listdir("/proc/self/fd"))

    before = state()
    with canaries.Canary() as canary:
        folder = os.path.dirname(canary.path)
        assert os.path.exists(folder)
    assert state() == before
    assert not os.path.exists(folder)


def test_an_end_by_another_cause_than_the_right_one_is_not_containment():
    assert once(WALLED, b"open", {Cause.CRASH, Cause.MEMORY}).cause == Cause.FORBIDDEN
    assert not once(WALLED, b"open", {Cause.CRASH, Cause.MEMORY}).contained
    assert once(WALLED, b"open", {Cause.FORBIDDEN}).contained


def test_a_deed_that_is_itself_wrong_is_not_contained():
    outcome = once(WALLED, b"no-such-act", {Cause.CRASH, Cause.FORBIDDEN}, (b"refused: ",))
    assert (outcome.contained, outcome.text) == (False, "no-such-act: broken: KeyError: b'no-such-act'")


def test_a_result_that_was_not_foreseen_is_not_containment():
    outcome = once(WALLED, b"pread image", {Cause.FORBIDDEN}, (b"refused: ",))
    assert not outcome.contained
    assert outcome.text.startswith(r"pread image: survived: b'\x00\x01")


class Talker:
    """A session that says what a test has it say."""

    def __init__(self, *frames):
        self._frames = [deeds.READY, *frames]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None

    def send(self, frame):
        return None

    def receive(self):
        frame = self._frames.pop(0)
        if isinstance(frame, Exception):
            raise frame
        return frame


@pytest.mark.parametrize("text", ["\x1b[2J", "x" * 1000], ids=["control characters", "length"])
def test_an_error_that_is_not_fit_to_print_is_not_containment(text):
    outcome = once(lambda *_: Talker(JailError(text, Cause.CRASH)), b"any", {Cause.CRASH})
    assert not outcome.contained
    assert "not fit to print" in outcome.text


def test_a_session_that_goes_on_wrongly_after_a_refusal_is_not_containment():
    right = once(lambda *_: Talker(b"refused: EPERM", deeds.STILL), b"any", survives=(b"refused: EPERM",))
    wrong = once(lambda *_: Talker(b"refused: EPERM", b"survived: it"), b"any", survives=(b"refused: EPERM",))
    assert (right.contained, wrong.contained) == (True, False)


def test_a_session_that_outlives_its_limits_is_not_containment(monkeypatch):
    monkeypatch.setattr(suite, "GRACE", -1e9)
    outcome = once(lambda *_: Talker(*[b"noise"] * 10), b"any", {Cause.DEADLINE})
    assert (outcome.contained, outcome.text) == (False, "any: the session goes on past its deadline")


def test_a_sandbox_that_does_not_start_again_is_noticed():
    outcome = once(lambda *_: Broken(), b"any", {Cause.CRASH})
    assert not outcome.contained
    assert "a session does not start after what was done before" in outcome.text


class Broken(Talker):
    def receive(self):
        raise JailError("the worker crashed", Cause.CRASH)


def test_every_deed_has_a_name_of_its_own_and_a_way_to_be_contained():
    everything = (*suite.DEEDS, *THOROUGH)
    names = [deed.name for deed in everything]
    assert len(names) == len(set(names))
    assert all(deed.orders and (deed.causes or deed.survives) for deed in everything)
    known = {order.split(b" ")[0] for deed in everything for order in deed.orders}
    assert known == set(deeds.ACTS)
    run = {order.split(b" ")[1] for deed in machine.MACHINE_CODE for order in deed.orders}
    assert run == set(INSTRUCTIONS)


def test_a_name_that_no_deed_has_is_an_error():
    with pytest.raises(KeyError):
        list(suite.run(WALLED, ["no such deed"]))


def test_a_leak_of_each_kind_is_counted():
    kept = []

    def leaking(*words):
        kept.append(os.dup(0))
        pid = os.fork()
        if pid == 0:
            time.sleep(60)
            os._exit(0)
        kept.append(-pid)
        return WALLED(*words)

    try:
        found = leaks.leaks(leaking, 3)
        assert found[:3] == (3, 3, 3)
    finally:
        for number in kept:
            if number < 0:
                os.kill(-number, signal.SIGKILL)
                os.waitpid(-number, 0)
            else:
                os.close(number)


def test_memory_that_is_kept_is_counted():
    held = []

    def hoarding(*words):
        held.append(bytearray(b"x" * (8 << 20)))
        return WALLED(*words)

    # Far more than what the process may give back meanwhile of what was freed before.
    assert leaks.leaks(hoarding, 8).memory > 32 << 20
