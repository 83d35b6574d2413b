import os

import pytest
from instar_sandbox import JailError, Limits, Program, start

LIMITS = Limits(10, 1 << 30, None)


def inline(deed, descriptors=(), limits=LIMITS, **options):
    return start("inline", Program("jailed_deeds", deed.encode()), descriptors, limits, **options)


def test_inline_serves_as_a_process_does():
    with inline("echo") as session:
        for frame in (b"", b"one", bytearray(b"two"), memoryview(bytes(1 << 20))):
            session.send(frame)
            assert session.receive() == bytes(frame)


def test_inline_keeps_the_callers_descriptors(tmp_path):
    (tmp_path / "file").write_bytes(b"content")
    descriptor = os.open(tmp_path / "file", os.O_RDONLY)
    with inline("read_files", [descriptor]) as session:
        assert eval(session.receive()) == [(descriptor, b"content")]
    os.close(descriptor)


def test_inline_tells_what_a_program_raised():
    with (
        inline("fail_loudly") as session,
        pytest.raises(JailError, match=r"^the worker failed: ValueError: \?\[31mred") as caught,
    ):
        session.receive()
    assert isinstance(caught.value.__cause__, ValueError)
    assert caught.value.cause == "crash"


def test_inline_tells_of_an_answer_cut_short():
    with inline("say x") as session:
        assert session.receive() == b"'x'"
        with pytest.raises(JailError, match="cut short"):
            session.receive()


def test_inline_keeps_deadlines():
    with inline("wait") as session, pytest.raises(JailError, match=r"^the worker did not answer within 0.05 s$"):
        session.receive(0.05)
    with inline("wait", limits=Limits(1, 1, 0.05)) as session, pytest.raises(JailError, match=r"deadline of 0\.05 s$"):
        session.receive(5)


def test_inline_bounds_frames():
    with inline("echo", max_frame=10) as session, pytest.raises(ValueError, match="larger than the 10 allowed"):
        session.send(bytes(11))


def test_auto_is_never_inline():
    with (
        start("auto", Program("jailed_deeds", b"open_file /etc/passwd"), [], LIMITS) as session,
        pytest.raises(JailError, match="forbidden system call"),
    ):
        session.receive()
