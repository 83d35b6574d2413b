import os

import pytest
from instar_sandbox import JailError, Limits, Program, start

FORBIDDEN = [
    "open_file",
    "import_module",
    "exec_program",
    "fork_process",
    "start_a_thread",
    "make_socket",
    "signal_parent",
    "signal_another",
    "signal_itself_otherwise",
    "trace_parent",
    "write_file",
    "pwrite_file",
    "move_position",
    "read_at_position",
    "preadv_at_position",
    "write_input",
    "pread_beyond_files",
    "use_what_prepare_opened",
    "close_output",
    "copy_descriptor",
    "map_executable",
    "make_page_executable",
    "map_file",
    "unusual_futex",
    "raise_limit",
    "ignore_limit",
    "enter_namespace",
    "set_up_ring",
    "call_x32",
    "call_beyond_table",
]
LIMITS = Limits(10, 1 << 30, 30)


def run(deed, rest="", descriptors=(), **options):
    with start(
        "process", Program("jailed_deeds", f"{deed} {rest}".encode()), descriptors, LIMITS, **options
    ) as session:
        return session.receive()


@pytest.mark.parametrize("deed", FORBIDDEN)
def test_a_worker_that_makes_a_forbidden_call_is_killed(deed, tmp_path):
    file = tmp_path / "image"
    file.write_bytes(b"0123456789")
    rest = str(file) if deed == "open_file" else str(os.getpid())
    descriptor = os.open(file, os.O_RDWR)
    try:
        with pytest.raises(JailError) as caught:
            run(deed, rest, [descriptor])
        assert os.lseek(descriptor, 0, os.SEEK_CUR) == 0
    finally:
        os.close(descriptor)
    assert caught.value.cause == "forbidden call"
    assert str(caught.value) == "the worker made a forbidden system call and was killed"
    assert file.read_bytes() == b"0123456789"


@pytest.mark.parametrize("secret", ["/proc/self/environ", "/etc/passwd", "/proc/self/mem", "/dev/null"])
def test_no_name_can_be_opened_behind_the_walls(secret):
    with pytest.raises(JailError, match="forbidden system call"):
        run("open_file", secret)


def test_a_worker_reads_its_files_at_known_numbers(tmp_path):
    (tmp_path / "one").write_bytes(b"first file")
    (tmp_path / "two").write_bytes(b"second file")
    opened = [os.open(tmp_path / name, os.O_RDONLY) for name in ("one", "two")]
    try:
        assert eval(run("read_files", descriptors=opened)) == [(5, b"first file"), (6, b"second fil")]
        assert eval(run("read_files", descriptors=opened[::-1])) == [(5, b"second fil"), (6, b"first file")]
        assert eval(run("preadv_file", descriptors=opened)) == (8, b"rst file\0\0")
    finally:
        for descriptor in opened:
            os.close(descriptor)


def test_ordinary_work_needs_no_forbidden_call():
    assert eval(run("work")) == (1_000_000, 100_000, "KeyError('x')", True)


def test_memory_mapped_before_the_walls_stays_usable():
    assert eval(run("use_shared_memory")) == b"data"


def test_numpy_loaded_before_the_walls_works_behind_them(tmp_path, monkeypatch):
    pytest.importorskip("numpy")
    (tmp_path / "jailed_numpy.py").write_text(
        "def prepare(argument, descriptors):\n"
        "    import numpy\n"
        "    return numpy\n"
        "def serve(numpy, channel):\n"
        "    table = numpy.frombuffer(bytes(range(256)) * 4096, dtype='>u8').astype('u8')\n"
        "    steps = numpy.flatnonzero(numpy.diff(numpy.sort(table)))\n"
        "    channel.send(repr((int((table & 255).sum()), len(steps))).encode())\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    with start("process", Program("jailed_numpy"), [], LIMITS, server=True) as session:
        assert eval(session.receive()) == (4096 * sum(range(7, 256, 8)), 31)


def test_a_worker_with_threads_is_refused():
    with pytest.raises(
        JailError, match=r"^the worker's walls could not be raised: the program had 2 threads"
    ) as caught:
        run("prepare_thread")
    assert caught.value.cause == "wall"
