import os
import time

import pytest
from instar_sandbox import JailError, Limits, Program, start

GENEROUS = Limits(10, 1 << 30, 30)


def failure(deed, limits=GENEROUS, timeout=None, **options):
    with start("process", Program("jailed_deeds", deed.encode()), [], limits, **options) as session:
        with pytest.raises(JailError) as caught:
            while True:
                session.receive(timeout)
        with pytest.raises(JailError) as again:
            session.receive()
        assert again.value is caught.value
    return caught.value.cause, str(caught.value)


@pytest.mark.parametrize("server", [False, True])
def test_a_worker_that_spins_ends_at_its_cpu_limit(server):
    expected = "cpu limit", "the worker used more than its 1 s of CPU time"
    assert failure("spin", Limits(1, 1 << 30, None), server=server) == expected


@pytest.mark.parametrize("deed", ["eat_memory", "prepare_exhausts"])
def test_a_worker_that_wants_more_memory_than_its_limit_fails(deed):
    expected = "memory limit", "the worker needed more than its 512 MiB of memory"
    assert failure(deed, Limits(10, 512 << 20, None)) == expected


@pytest.mark.parametrize("deed", ["spin", "wait", "flood"])
@pytest.mark.parametrize("server", [False, True])
def test_a_session_ends_at_its_deadline(deed, server):
    begin = time.monotonic()
    expected = "deadline", "the worker ran past its deadline of 0.4 s"
    assert failure(deed, Limits(10, 1 << 30, 0.4), server=server) == expected
    assert time.monotonic() - begin < 5


def test_an_answer_can_have_a_deadline_of_its_own():
    assert failure("wait", timeout=0.2) == ("deadline", "the worker did not answer within 0.2 s")


def test_sending_to_a_worker_that_does_not_read_ends_at_the_deadline():
    with (
        start("process", Program("jailed_deeds", b"spin"), [], Limits(10, 1 << 30, 0.5)) as session,
        pytest.raises(JailError, match=r"^the worker ran past its deadline of 0.5 s$"),
    ):
        session.send(bytes(7 << 20))


def test_sending_to_a_worker_that_died_names_what_it_died_of():
    with (
        start("process", Program("jailed_deeds", b"make_socket"), [], GENEROUS) as session,
        pytest.raises(JailError, match="forbidden system call"),
    ):
        session.send(bytes(7 << 20))


@pytest.mark.parametrize("server", [False, True])
@pytest.mark.parametrize(
    ("deed", "expected"),
    [
        ("read_nowhere", ("crash", "the worker crashed (signal 11, SIGSEGV)")),
        ("abort", ("crash", "the worker crashed (signal 6, SIGABRT)")),
        ("leave 3", ("crash", "the worker ended with status 3")),
        ("leave 0", ("cut short", "the worker's answer was cut short")),
        ("cut_a_frame", ("cut short", "the worker's answer was cut short")),
        ("prepare_fails", ("crash", "the worker failed: ValueError: prepare failed")),
        ("announce_a_giant", ("crash", "the worker sent a frame of 1073741824 bytes, more than the 8388608 allowed")),
    ],
)
def test_every_end_of_a_worker_has_its_message(deed, expected, server):
    assert failure(deed, server=server) == expected


def test_an_endless_recursion_is_an_error_of_the_program():
    cause, message = failure("recurse")
    assert cause == "crash"
    assert message.startswith("the worker failed: RecursionError: ")


def test_the_text_of_a_worker_is_cut_and_has_no_control_characters():
    cause, message = failure("fail_loudly")
    assert cause == "crash"
    assert message.startswith("the worker failed: ValueError: ?[31mred?xxx")
    assert message.isprintable()
    assert len(message) <= 550


def test_a_worker_can_only_choose_among_known_ends():
    assert failure("lie_about_its_end") == ("memory limit", "the worker needed more than its 1024 MiB of memory")


def test_a_module_that_is_not_there_is_named():
    with (
        start("process", Program("no_such_program"), [], GENEROUS) as session,
        pytest.raises(JailError, match=r"^the worker failed: ModuleNotFoundError: .*no_such_program"),
    ):
        session.receive()


def test_the_largest_frame_can_be_chosen():
    with start("process", Program("jailed_deeds", b"echo"), [], GENEROUS, max_frame=1000) as session:
        with pytest.raises(ValueError, match="larger than the 1000 allowed"):
            session.send(bytes(1001))
        session.send(bytes(1000))
        assert session.receive() == bytes(1000)


def test_frames_of_every_size_arrive_whole_and_in_order():
    with start("process", Program("jailed_deeds", b"echo"), [], GENEROUS) as session:
        for size in (0, 1, 3, 4, 5, 65531, 65532, 65536, 65537, 1 << 20, 8 << 20):
            frame = os.urandom(min(size, 1024)) * (size // 1024) if size > 1024 else os.urandom(size)
            session.send(memoryview(frame))
            assert session.receive() == frame
        for number in range(1000):
            session.send(b"%d" % number)
        assert [session.receive() for _ in range(1000)] == [b"%d" % number for number in range(1000)]


def test_a_frame_that_cannot_be_sent_is_the_programs_error():
    program = Program("jailed_deeds", b"say " + b"x" * 2000)
    with (
        start("process", program, [], GENEROUS, max_frame=1000, server=False) as session,
        pytest.raises(JailError, match=r"^the worker failed: ValueError: a frame of 2002 bytes is larger"),
    ):
        session.receive()
