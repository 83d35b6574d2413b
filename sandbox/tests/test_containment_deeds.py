"""Every hostile deed, on every platform: what the sandbox promises, tried."""

import functools
import os

import instar_sandbox
import pytest
from instar_sandbox import Limits, NoPlatform
from instar_sandbox.containment import leaks, suite
from instar_sandbox.containment.catalogue import THOROUGH

ENOUGH = 4 << 20
"""Bytes by which the memory of a process may differ without anything having leaked."""

EMULATED = {
    "instruction-invd": "does nothing",
    "instruction-wbinvd": "does nothing",
    "instruction-sse-error": "raises no exception",
    "instruction-mxcsr-reserved": "raises no exception",
    "instruction-alignment-check": "raises no exception",
    "recurse-in-c": "takes too long",
    "grow": "takes too long",
}
"""What an emulated processor does instead of what a real one does, to nobody's harm."""


@pytest.fixture
def process_start():
    return functools.partial(instar_sandbox.start, "process")  # by the fork server, where this process has grown large


@pytest.fixture
def server_start():
    return functools.partial(instar_sandbox.start, "process", server=True)


@pytest.fixture(scope="session")
def hostile_snapshot():
    """A guest that has imported the hostile program, made for these tests and kept nowhere."""
    kvm = pytest.importorskip("instar_sandbox.kvm.prepare")
    from instar_sandbox import Recipe

    try:
        made = kvm.make(Recipe("containment", ["instar_sandbox.containment.deeds"]))
    except NoPlatform as error:
        pytest.skip(str(error))
    with made:
        yield made


@pytest.fixture
def kvm_start(hostile_snapshot):
    return functools.partial(instar_sandbox.start, "kvm", snapshot=hostile_snapshot)


PLATFORMS = [
    pytest.param("process_start", id="process"),
    pytest.param("server_start", id="process by the fork server", marks=pytest.mark.long),
    pytest.param("kvm_start", id="kvm", marks=pytest.mark.kvm),
]


@pytest.fixture(params=PLATFORMS)
def start(request):
    return request.getfixturevalue(request.param)


@pytest.mark.parametrize("name", [deed.name for deed in suite.DEEDS])
def test_a_hostile_deed_is_contained(name, start):
    (outcome,) = suite.run(start, [name])
    if outcome.left_out:
        pytest.skip(outcome.left_out)
    if not outcome.contained and name in EMULATED and "INSTAR_SVM_INSIDE" in os.environ:
        pytest.xfail(f"on an emulated processor it {EMULATED[name]}: {outcome.text}")
    assert outcome.contained, f"{outcome.cause}: {outcome.text}"


def test_forty_hostile_sessions_by_the_fork_server_leave_nothing_behind(server_start):
    left(server_start, 40)


@pytest.mark.long
@pytest.mark.parametrize("name", [deed.name for deed in THOROUGH])
def test_a_deed_of_thousands_of_sessions_is_contained(name, start):
    test_a_hostile_deed_is_contained(name, start)


def left(start, sessions):
    found = leaks.leaks(start, sessions)
    assert found[:4] == (sessions, 0, 0, 0), found
    assert found.memory < ENOUGH, found


def test_forty_hostile_sessions_leave_nothing_behind(start):
    left(start, 40)


@pytest.mark.long
def test_a_thousand_hostile_sessions_leave_nothing_behind(start):
    left(start, 1000)


def test_a_session_after_all_of_a_kind_works(start):
    """Deeds do not spoil the platform for the program that comes after."""
    names = ["open", "abort", "peek", "cut", "map-much"]
    assert [outcome.contained for outcome in suite.run(start, names)] == [True] * len(names)
    image = os.open(__file__, os.O_RDONLY)
    try:
        from instar_sandbox.containment.canary import Canary

        with Canary() as canary:
            from instar_sandbox import Program

            program = Program("instar_sandbox.containment.deeds", canary.argument)
            with start(program, [image, canary.shared], Limits(2, 512 << 20, 20)) as session:
                assert session.receive() == b"ready"
                session.send(b"pread image")
                assert session.receive() == b"survived: " + repr(os.pread(image, 16, 0)).encode()
    finally:
        os.close(image)
