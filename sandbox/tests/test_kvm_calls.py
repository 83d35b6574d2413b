"""What a sealed guest gets for its system calls: Linux's answers where it may ask, an end where it may not."""

import importlib.util
import os
import pathlib
import sys

import pytest
from instar_sandbox.jail.descriptors import FIRST, INPUT, OUTPUT
from instar_sandbox.kvm import layout, numbers
from instar_sandbox.kvm.errors import GuestEnded, GuestExited, GuestFault, GuestForbidden
from instar_sandbox.kvm.memory import GuestMemory
from instar_sandbox.kvm.output import Output
from instar_sandbox.kvm.sealed import SealedCalls
from instar_sandbox.kvm.space import Space


def load(name):
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, pathlib.Path(__file__).with_name(f"{name}.py"))
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


specimens, child = load("kvm_specimens"), load("kvm_child")
SIZE, PAGE = layout.LEAST_MEMORY, layout.PAGE
PLACE = layout.PROGRAM
HUGE = (1 << 64) - 1


class Recorded(Output):
    """What a guest sends is kept; no more than `most` bytes are taken at a time."""

    __slots__ = ("most", "said")

    def __init__(self, most=1 << 30):
        super().__init__(-1)
        self.most, self.said = most, b""

    def write(self, content):
        self.said += bytes(content[: self.most])
        return min(self.most, len(content))


@pytest.fixture
def memory():
    made = GuestMemory(SIZE)
    yield made
    made.close()


@pytest.fixture
def calls(memory):
    return SealedCalls(memory, Space(memory), Recorded(), 2)


def ask(calls, name, *arguments):
    words = [argument & HUGE for argument in arguments]
    return calls.answer(numbers.NUMBERS[name], (*words, *[0] * (6 - len(words))))


ANONYMOUS = 0x22


def mmap(calls, length):
    return ask(calls, "mmap", 0, length, 3, ANONYMOUS, -1, 0)


# Memory.


def test_mapped_memory_is_zero_and_apart(calls, memory):
    one, two = mmap(calls, 1), mmap(calls, 3 * PAGE)
    assert (one, two) == (layout.MAPPINGS, layout.MAPPINGS + PAGE)
    memory.put(two, b"x" * 3 * PAGE)
    assert ask(calls, "munmap", two, 3 * PAGE) == 0
    assert mmap(calls, 3 * PAGE) == two
    assert not any(memory.part(two, 3 * PAGE))


@pytest.mark.parametrize("length", [0, SIZE + 1, SIZE, 1 << 63, HUGE, HUGE - PAGE + 1])
def test_what_cannot_be_mapped_is_refused(calls, length):
    assert mmap(calls, length) == -(numbers.ENOMEM if length else numbers.EINVAL)
    assert calls.space.free == [(layout.MAPPINGS, SIZE)]


def test_mapping_at_a_place_of_the_guests_choice_is_refused(calls):
    for flag in (0x10, 0x100000):
        assert ask(calls, "mmap", layout.MAPPINGS, PAGE, 3, ANONYMOUS | flag, -1, 0) == -numbers.ENOMEM


def test_mapping_a_file_ends_the_guest(calls):
    with pytest.raises(GuestForbidden):
        ask(calls, "mmap", 0, PAGE, 1, 2, FIRST, 0)


def test_a_mapping_grows_where_it_stands_or_moves(calls, memory):
    one, two = mmap(calls, 2 * PAGE), mmap(calls, PAGE)
    memory.put(one, b"one" * 2000)
    assert ask(calls, "mremap", one, 2 * PAGE, 3 * PAGE, 0) == -numbers.ENOMEM
    moved = ask(calls, "mremap", one, 2 * PAGE, 3 * PAGE, 1)
    assert moved == two + PAGE
    assert bytes(memory.part(moved, 6000)) == b"one" * 2000
    assert not any(memory.part(one, 2 * PAGE)), "what was moved is still where it was"
    assert ask(calls, "mremap", moved, 3 * PAGE, 9 * PAGE, 0) == moved
    assert bytes(memory.part(moved, 6000)) == b"one" * 2000
    assert calls.space.free == [(one, two), (moved + 9 * PAGE, SIZE)]


def test_a_mapping_shrinks_where_it_stands(calls, memory):
    one = mmap(calls, 5 * PAGE)
    memory.put(one, b"x" * 5 * PAGE)
    assert ask(calls, "mremap", one, 5 * PAGE, PAGE + 1, 0) == one
    assert calls.space.free == [(one + 2 * PAGE, SIZE)]
    assert not any(memory.part(one + 2 * PAGE, 3 * PAGE))
    assert all(memory.part(one, 2 * PAGE))


def test_a_mapping_that_grows_within_its_last_page_stays(calls):
    one, _ = mmap(calls, PAGE + 1), mmap(calls, PAGE)
    free = list(calls.space.free)
    assert ask(calls, "mremap", one, PAGE + 1, 2 * PAGE, 0) == one
    assert ask(calls, "mremap", one, PAGE + 1, 2 * PAGE, 1) == one
    assert calls.space.free == free


@pytest.mark.parametrize(
    ("address", "old", "new", "flags"),
    [
        (layout.MAPPINGS, 0, PAGE, 1),
        (layout.MAPPINGS, PAGE, 0, 1),
        (layout.MAPPINGS + 1, PAGE, 2 * PAGE, 1),
        (layout.MAPPINGS, PAGE, 2 * PAGE, 3),
        (layout.PROGRAM, PAGE, 2 * PAGE, 1),
        (0, PAGE, 2 * PAGE, 1),
        (layout.MAPPINGS, PAGE, HUGE, 1),
        (layout.MAPPINGS, HUGE, HUGE, 1),
        (layout.MAPPINGS, HUGE, PAGE, 1),
        (layout.MAPPINGS, SIZE, PAGE, 1),
        (HUGE - PAGE + 1, PAGE, 2 * PAGE, 1),
        (SIZE, PAGE, PAGE, 1),
        (SIZE - PAGE, PAGE, 1 << 63, 1),
    ],
)
def test_what_cannot_be_remapped_is_refused(calls, address, old, new, flags):
    assert ask(calls, "mremap", address, old, new, flags) < 0
    assert calls.space.free == [(layout.MAPPINGS, SIZE)]


def test_advice_that_empties_does_so_in_whole_pages(calls, memory):
    place = mmap(calls, 3 * PAGE)
    for length, emptied in ((0, 0), (1, 1), (PAGE, 1), (PAGE + 1, 2), (3 * PAGE, 3)):
        memory.put(place, b"x" * 3 * PAGE)
        assert ask(calls, "madvise", place, length, 4) == 0
        assert bytes(memory.part(place, 3 * PAGE)) == bytes(emptied * PAGE) + b"x" * (3 - emptied) * PAGE
    for address, length in ((place + 1, PAGE), (layout.PROGRAM, PAGE), (place, SIZE), (place, HUGE), (SIZE, PAGE)):
        assert ask(calls, "madvise", address, length, 4) == -numbers.EINVAL
    for advice in (0, 1, 3, 8, 14, 21, HUGE):
        assert ask(calls, "madvise", place, HUGE, advice) == 0
    assert ask(calls, "mprotect", 0, HUGE, HUGE) == 0


def test_the_heap_ends_where_it_was_asked_to(calls):
    assert ask(calls, "brk", 0) == PLACE
    assert ask(calls, "brk", PLACE + 1000) == PLACE + 1000
    assert ask(calls, "brk", HUGE) == PLACE + 1000


# Constants.


def test_time_stands_still(calls, memory):
    now = specimens.words(1_000_000_000, 0)
    for clock in (0, 1, 2, HUGE):
        assert ask(calls, "clock_gettime", clock, PLACE) == 0
        assert bytes(memory.part(PLACE, 16)) == now
        memory.put(PLACE, bytes(16))
    assert ask(calls, "gettimeofday", PLACE, 0) == 0
    assert bytes(memory.part(PLACE, 16)) == now
    assert ask(calls, "time", PLACE + 32) == 1_000_000_000 == ask(calls, "time", 0)
    assert memory.words(PLACE + 32, 1) == (1_000_000_000,)
    for name, arguments in {"clock_gettime": (0, SIZE - 8), "gettimeofday": (1,), "time": (HUGE,)}.items():
        with pytest.raises(GuestFault):
            ask(calls, name, *arguments)


@pytest.mark.parametrize("length", [0, 1, 250, 251, 252, 1000, 1 << 20])
def test_chance_is_always_the_same(calls, memory, length):
    assert ask(calls, "getrandom", PLACE, length, 0) == length
    got = bytes(memory.part(PLACE, length))
    assert got == (bytes(range(1, 252)) * 5000)[:length]
    assert not any(memory.part(PLACE + length, 100))


def test_chance_is_given_a_little_at_a_time(calls):
    assert ask(calls, "getrandom", PLACE, 1 << 24, 0) == 1 << 20
    with pytest.raises(GuestFault):
        ask(calls, "getrandom", SIZE - 100, HUGE, 0)


def test_nobody_waits_for_a_lock(calls):
    assert ask(calls, "futex", PLACE, 128, 0) == -numbers.EAGAIN  # FUTEX_WAIT, private
    assert ask(calls, "futex", PLACE, 129, 1) == 0
    for operation in (2, 3, 4, 5, 6, 7, 8, 11, 12, 13, 127):
        with pytest.raises(GuestForbidden):
            ask(calls, "futex", PLACE, operation)


def test_signals_are_not(calls, memory):
    memory.put(PLACE, b"x" * 8)
    assert ask(calls, "rt_sigprocmask", 0, HUGE, PLACE, 8) == 0
    assert not any(memory.part(PLACE, 8))
    assert ask(calls, "rt_sigprocmask", 0, HUGE, 0, 8) == 0
    with pytest.raises(GuestFault, match="aborted"):
        ask(calls, "tgkill", 2, 2, 6)
    for arguments in ((2, 2, 9), (1, 2, 6), (2, 1, 6), (-1, -1, 6)):
        with pytest.raises(GuestForbidden):
            ask(calls, "tgkill", *arguments)


@pytest.mark.parametrize("name", ["exit", "exit_group"])
def test_a_guest_ends_with_its_code(calls, name):
    for code, wanted in ((0, 0), (7, 7), (-1, 255), (0x1234, 0x34), (HUGE, 255)):
        with pytest.raises(GuestExited) as end:
            ask(calls, name, code)
        assert end.value.code == wanted


def test_a_guest_may_make_these_calls_and_no_other(calls):
    may = {
        "read", "write", "readv", "writev", "pread64", "preadv", "preadv2", "mmap", "munmap", "mremap", "mprotect",
        "madvise", "brk", "futex", "clock_gettime", "gettimeofday", "time", "getrandom", "rt_sigprocmask",
        "sigaltstack", "sched_yield", "getpid", "gettid", "tgkill", "exit", "exit_group",
    }  # fmt: skip
    assert {numbers.named(number) for number in calls.table} == may
    wanted = {numbers.NUMBERS[name] for name in may}
    for number in [*range(1024), 1 << 30 | 1, 1 << 31, 1 << 32 | 1, HUGE, 1 << 63]:
        if number not in wanted:
            with pytest.raises(GuestForbidden, match="forbidden system call"):
                calls.answer(number, (0,) * 6)


# The channel.


def vector(memory, at, *pieces):
    memory.put(at, specimens.words(*[number for piece in pieces for number in piece]))


def test_an_answer_goes_out_in_order(calls, memory):
    memory.put(PLACE, b"0123456789")
    assert ask(calls, "write", OUTPUT, PLACE, 4) == 4
    vector(memory, PLACE + 64, (PLACE + 4, 2), (0, 0), (PLACE + 8, 2), (HUGE, 0), (PLACE + 4, 1))
    assert ask(calls, "writev", OUTPUT, PLACE + 64, 5) == 5
    assert calls.output.said == b"012345894"
    assert ask(calls, "write", OUTPUT, 0, 0) == 0
    assert ask(calls, "writev", OUTPUT, 0, 0) == 0


def test_an_answer_that_is_not_taken_whole_has_no_gap(memory):
    calls = SealedCalls(memory, Space(memory), Recorded(most=3), 0)
    memory.put(PLACE, b"0123456789")
    vector(memory, PLACE + 64, (PLACE, 2), (PLACE + 2, 6), (PLACE + 8, 2))
    assert ask(calls, "writev", OUTPUT, PLACE + 64, 3) == 5
    assert calls.output.said == b"01234"


def test_what_the_c_library_says_goes_nowhere(calls, memory):
    vector(memory, PLACE, (PLACE, 100), (PLACE, 20))
    for number in (1, 2):
        assert ask(calls, "write", number, PLACE, 100) == 100
        assert ask(calls, "writev", number, PLACE, 2) == 120
    assert calls.output.said == b""


@pytest.mark.parametrize("number", [0, INPUT, FIRST, FIRST + 1, 99, (1 << 32) - 1])
def test_writing_elsewhere_ends_the_guest(calls, number):
    for name in ("write", "writev", "pwrite64"):
        for count in (0, 1):
            with pytest.raises(GuestForbidden):
                ask(calls, name, number, PLACE, count, 0)
    assert calls.output.said == b""


@pytest.mark.parametrize("number", [0, 1, 2, OUTPUT, FIRST, 99, -1])
def test_reading_elsewhere_ends_the_guest(calls, number):
    for name in ("read", "readv"):
        for count in (0, 1):
            with pytest.raises(GuestForbidden):
                ask(calls, name, number, PLACE, count)


@pytest.mark.parametrize("name", ["readv", "writev", "preadv", "preadv2"])
def test_pieces_are_bounded_in_number_and_in_sum(calls, memory, name):
    number = {"readv": INPUT, "writev": OUTPUT}.get(name, FIRST)
    for count in (1025, 1 << 31, 1 << 60, HUGE):
        with pytest.raises(GuestEnded):
            ask(calls, name, number, PLACE, count, 0)
    for pieces in (
        [(PLACE, HUGE)],
        [(PLACE, 1 << 63), (PLACE, 1 << 63)],
        [(0, 1)],
        [(SIZE - 1, 2)],
        [(PLACE, 16), (layout.HEAP_END, 1)],
        [(layout.STACK_START, SIZE - layout.STACK_START)] * 4,  # more than the guest has: it would take long
    ):
        vector(memory, PLACE, *pieces)
        with pytest.raises(GuestFault):
            ask(calls, name, number, PLACE, len(pieces), 0)
    assert calls.output.said == b""


def test_the_channel_is_read_as_it_comes():
    def deed():
        memory = GuestMemory(SIZE)
        calls = SealedCalls(memory, Space(memory), Output(OUTPUT), 0)
        assert ask(calls, "read", INPUT, 0, 0) == 0
        got = ask(calls, "read", INPUT, PLACE, 100)
        first = bytes(memory.part(PLACE, got))
        vector(memory, PLACE + 4096, (PLACE, 5), (0, 0), (PLACE + 100, 7))
        more = ask(calls, "readv", INPUT, PLACE + 4096, 3)
        second = bytes(memory.part(PLACE, 5)) + bytes(memory.part(PLACE + 100, more - 5))
        with pytest.raises(GuestFault):
            ask(calls, "read", INPUT, SIZE - 10, 11)
        assert ask(calls, "readv", INPUT, PLACE, 0) == 0
        return first + second

    import random

    chance = random.Random(3)
    pool = chance.randbytes(1 << 16)
    got, _ = child.work(deed, [], seconds=30, seed=3)
    assert len(got) == 112
    assert pool[chance.randrange(len(pool)) :].startswith(got)


# Files.


def test_a_file_is_read_at_explicit_places_and_its_position_stays(tmp_path):
    content = bytes(range(1, 256)) * 20

    def deed():
        memory = GuestMemory(SIZE)
        calls = SealedCalls(memory, Space(memory), Output(OUTPUT), 1)
        assert ask(calls, "pread64", FIRST, PLACE, 10, 3) == 10
        assert bytes(memory.part(PLACE, 11)) == content[3:13] + b"\0"
        assert ask(calls, "pread64", FIRST, PLACE, 100, len(content) - 7) == 7
        assert ask(calls, "pread64", FIRST, PLACE, 100, len(content) + 7) == 0
        assert ask(calls, "pread64", FIRST, 0, 0, 0) == 0
        assert ask(calls, "pread64", FIRST | 7 << 32, PLACE, 10, 0) == 10
        assert ask(calls, "pread64", FIRST, PLACE, 10, (1 << 63) - 1) in (-22, 0)
        for name in ("preadv", "preadv2"):
            vector(memory, PLACE + 64, (PLACE, 5), (0, 0), (PLACE + 16, 6))
            assert ask(calls, name, FIRST, PLACE + 64, 3, 100, HUGE if name == "preadv" else 0) == 11
            assert bytes(memory.part(PLACE, 5)) + bytes(memory.part(PLACE + 16, 6)) == content[100:111]
        for offset in (1 << 63, HUGE):
            for name in ("pread64", "preadv", "preadv2"):
                with pytest.raises(GuestForbidden):
                    ask(calls, name, FIRST, PLACE + 64, 1, offset)
        for flags in (1, 8, 16):
            with pytest.raises(GuestForbidden):
                ask(calls, "preadv2", FIRST, PLACE + 64, 1, 0, 0, flags)
        for number in (0, 1, 2, INPUT, OUTPUT, FIRST + 1, HUGE):
            for name in ("pread64", "preadv", "preadv2"):
                with pytest.raises(GuestForbidden):
                    ask(calls, name, number, PLACE + 64, 1, 0)
        assert os.lseek(FIRST, 0, os.SEEK_CUR) == 77
        return True

    descriptor = specimens.file_with(tmp_path / "file", content)
    os.lseek(descriptor, 77, os.SEEK_SET)
    assert child.work(deed, [descriptor], seconds=30)[0]
    os.close(descriptor)


def test_a_folder_or_a_pipe_in_place_of_a_file_is_an_error_number():
    def deed():
        memory = GuestMemory(SIZE)
        calls = SealedCalls(memory, Space(memory), Output(OUTPUT), 2)
        return [ask(calls, "pread64", number, PLACE, 10, 0) for number in (FIRST, FIRST + 1)]

    folder, (reader, writer) = os.open("/", os.O_RDONLY), os.pipe()
    assert child.work(deed, [folder, reader], seconds=30)[0] == [-21, -29]
    for descriptor in (folder, reader, writer):
        os.close(descriptor)
