"""Memory that the host shares with a worker is one memory for both, and ends where it ends."""

import os

import pytest
from instar_sandbox import JailError, Limits, Program, start
from instar_sandbox.kvm import layout

PREPARED = "sharing"
LIMITS = Limits(20, 1 << 30, 60)
PAGE = 4096


@pytest.fixture
def memory():
    """A maker of shared memory; what it made is closed afterwards."""
    opened = []

    def make(size):
        opened.append(os.memfd_create("shared", os.MFD_CLOEXEC))
        os.ftruncate(opened[-1], size)
        return opened[-1]

    yield make
    for descriptor in opened:
        os.close(descriptor)


@pytest.fixture(params=["process", pytest.param("kvm", marks=pytest.mark.kvm)])
def session(request):
    """A starter of sessions of the program, in either sandbox: (size of what is shared or 0, files)."""
    snapshot = request.getfixturevalue("made") if request.param == "kvm" else None

    def open_session(size, *files):
        program = Program(PREPARED, b"%d" % size if size else b"")
        return start(request.param, program, files, LIMITS, snapshot=snapshot)

    return open_session


def ask(session, order):
    session.send(order)
    return session.receive()


@pytest.mark.parametrize("size", [PAGE, layout.LARGE, layout.LARGE + PAGE, 9 << 20])
def test_each_side_sees_what_the_other_writes(session, memory, size):
    shared = memory(size)
    os.pwrite(shared, b"before", size - 6)
    with session(size, shared) as worker:
        assert ask(worker, b"read %d 6" % (size - 6)) == b"before"
        assert ask(worker, b"write 0 hello") == b"written"
        assert os.pread(shared, 6, 0) == b"hello\0"
        os.pwrite(shared, b"while", 100)
        assert ask(worker, b"read 98 9") == b"\0\0while\0\0"
        assert ask(worker, b"fill 0 ab") == b"filled"
    assert os.pread(shared, size + 1, 0) == b"ab" * (size // 2)


def test_files_beside_it_keep_their_numbers(session, memory, tmp_path):
    (tmp_path / "file").write_bytes(b"file")
    shared = memory(PAGE)
    with open(tmp_path / "file", "rb") as file, session(PAGE, file.fileno(), shared) as worker:
        assert ask(worker, b"write 7 x") == b"written"
    assert os.pread(shared, 9, 0) == b"\0\0\0\0\0\0\0x\0"


def test_two_workers_do_not_see_what_the_other_shares(session, memory):
    one, other = memory(PAGE), memory(PAGE)
    with session(PAGE, one) as first, session(PAGE, other) as second:
        assert ask(first, b"write 0 one") == b"written"
        assert ask(second, b"read 0 3") == b"\0\0\0"
        assert ask(second, b"write 0 two") == b"written"
        assert ask(first, b"read 0 3") == b"one"


@pytest.mark.kvm
@pytest.mark.parametrize("beyond", [0, PAGE, layout.LARGE - PAGE - 1, layout.LARGE, layout.MOST_SHARED - 2 * PAGE])
def test_a_guest_that_goes_beyond_what_is_shared_ends_and_has_written_nothing(made, memory, beyond):
    shared = memory(PAGE)
    with start("kvm", Program(PREPARED, b"%d" % PAGE), [shared], LIMITS, snapshot=made) as worker:
        assert ask(worker, b"poke %d x" % (layout.SHARED + PAGE - 1)) == b"\0"
        with pytest.raises(JailError):
            ask(worker, b"poke %d x" % (layout.SHARED + PAGE + beyond))
    assert os.fstat(shared).st_size == PAGE
    assert os.pread(shared, 2 * PAGE, 0) == bytes(PAGE - 1) + b"x"


@pytest.mark.kvm
def test_a_guest_with_which_nothing_is_shared_has_nothing_there(made, tmp_path):
    (tmp_path / "file").write_bytes(b"file")
    with (
        open(tmp_path / "file", "rb") as file,
        start("kvm", Program(PREPARED, b""), [file.fileno()], LIMITS, snapshot=made) as worker,
        pytest.raises(JailError),
    ):
        ask(worker, b"poke %d x" % layout.SHARED)


@pytest.mark.kvm
def test_memory_that_the_host_cuts_short_ends_the_guest(made, memory):
    shared = memory(4 * PAGE)
    with start("kvm", Program(PREPARED, b"%d" % (4 * PAGE)), [shared], LIMITS, snapshot=made) as worker:
        assert ask(worker, b"write 0 x") == b"written"
        os.ftruncate(shared, PAGE)
        with pytest.raises(JailError):
            ask(worker, b"write %d x" % (2 * PAGE))
