"""The filter, run by an interpreter of classic BPF that knows only its manual, for both architectures."""

import struct

import pytest
from instar_sandbox.jail import filter
from instar_sandbox.jail.syscalls import TABLES

ALLOW, KILL = 0x7FFF0000, 0x80000000
MINUS_ONE = (1 << 64) - 1
PID = 4321
GUARDED = {
    "read",
    "write",
    "readv",
    "writev",
    "pread64",
    "preadv",
    "preadv2",
    "mmap",
    "mprotect",
    "madvise",
    "futex",
    "tgkill",
}


def verdict(machine, files, number, *arguments, architecture=None, processor=None):
    code = list(struct.iter_unpack("<HBBI", filter.program(machine, files, PID, processor)))
    words = [*arguments, *(0,) * (6 - len(arguments))]
    data = struct.pack("<IIQ6Q", number, architecture or filter.ARCHITECTURES[machine], 0, *words)
    accumulator = at = 0
    while True:
        operation, if_true, if_false, value = code[at]
        at += 1
        match operation:
            case 0x20:
                (accumulator,) = struct.unpack_from("<I", data, value)
            case 0x54:
                accumulator &= value
            case 0x15:
                at += if_true if accumulator == value else if_false
            case 0x35:
                at += if_true if accumulator >= value else if_false
            case 0x45:
                at += if_true if accumulator & value else if_false
            case 0x06:
                return value
            case _:
                raise AssertionError(f"unknown operation {operation:#x}")


@pytest.fixture(params=["x86_64", "aarch64"])
def machine(request):
    return request.param


@pytest.fixture
def decide(machine):
    def decide(name, *arguments, files=2):
        return verdict(machine, files, TABLES[machine][name], *arguments) == ALLOW

    return decide


def test_only_listed_calls_are_allowed_whatever_the_arguments(machine):
    allowed = {n for n in range(600) if verdict(machine, 2, n, *[1] * 6) == ALLOW}
    free = {TABLES[machine][name] for name in filter.FREE if name in TABLES[machine]}
    guarded = {TABLES[machine][name] for name in GUARDED}
    assert free <= allowed
    assert allowed <= free | guarded


def test_another_architecture_is_killed(machine):
    for architecture in (0x40000003, 0xC000003E, 0xC00000B7, 0):
        expected = ALLOW if architecture == filter.ARCHITECTURES[machine] else KILL
        number = TABLES[machine]["getpid"]
        assert verdict(machine, 0, number, architecture=architecture or 1) == expected


def test_x32_calls_are_killed():
    for number in (0, 17, 39, 60, 231):
        assert verdict("x86_64", 2, number | 0x40000000, 3) == KILL


def test_reading_is_for_the_input_and_positional_reading_for_the_files(decide):
    assert [fd for fd in range(20) if decide("read", fd)] == [3]
    assert [fd for fd in range(20) if decide("readv", fd)] == [3]
    for call in ("pread64", "preadv", "preadv2"):
        assert [fd for fd in range(20) if decide(call, fd, 1, 1, 4096)] == [5, 6]
        assert [fd for fd in range(20) if decide(call, fd, 1, 1, 4096, files=0)] == []
        assert not decide(call, 0xFFFFFFFF, 1, 1, 0)


def test_the_position_that_the_host_shares_cannot_be_moved(decide):
    assert not decide("preadv2", 5, 1, 1, MINUS_ONE, 0, 0)
    assert decide("preadv2", 5, 1, 1, (1 << 63) - 1, 0, 0)
    assert not decide("preadv2", 5, 1, 1, 0, 0, 1)


def test_writing_is_for_the_output_and_dev_null(decide):
    assert [fd for fd in range(20) if decide("write", fd)] == [1, 2, 4]
    assert [fd for fd in range(20) if decide("writev", fd)] == [1, 2, 4]


def test_memory_is_anonymous_and_never_executable(decide):
    anonymous, private = 0x20, 0x02
    for protection in range(16):
        assert decide("mmap", 0, 4096, protection, anonymous | private, MINUS_ONE, 0) == (protection < 4)
        assert decide("mprotect", 0, 4096, protection) == (protection < 4)
    assert not decide("mmap", 0, 4096, 1, private, 5, 0)
    assert not decide("mmap", 0, 4096, 0x01000000 | 3, anonymous | private)


def test_advice_on_memory_is_only_such_as_allocators_give(decide):
    assert [advice for advice in range(102) if decide("madvise", 0, 4096, advice)] == [4, 8, 14, 15]


def test_futexes_only_wait_and_wake(decide):
    plain = [operation for operation in range(128) if decide("futex", 0, operation)]
    assert plain == [0, 1, 9, 10]
    assert decide("futex", 0, 128 | 256 | 9)
    assert not decide("futex", 0, 128 | 6)
    assert not decide("futex", 0, 512)


def test_a_process_can_only_abort_itself(decide):
    assert decide("tgkill", PID, PID, 6)
    assert not decide("tgkill", PID, PID, 9)
    assert not decide("tgkill", PID + 1, PID, 6)


def test_the_filter_fits_a_kernels_limit(machine):
    assert len(filter.program(machine, 4096, PID)) // 8 <= 4096


def test_a_monitor_may_run_its_processor_and_nothing_else(machine):
    ioctl = TABLES[machine]["ioctl"]
    assert verdict(machine, 2, ioctl, 7, filter.KVM_RUN, processor=7) == ALLOW
    for descriptor in (*range(7), 8, MINUS_ONE):
        assert verdict(machine, 2, ioctl, descriptor, filter.KVM_RUN, processor=7) == KILL
    for request in (
        *range(0xAE00, 0xAE80),
        *range(0xAE81, 0xAF00),
        0x4020AE46,
        0x4090AE82,
        0x4138AE84,
        0x5401,
        MINUS_ONE,
    ):
        assert verdict(machine, 2, ioctl, 7, request, processor=7) == KILL
    for descriptor in range(10):
        assert verdict(machine, 2, ioctl, descriptor, filter.KVM_RUN) == KILL
    for number in range(512):
        if number != ioctl:
            assert verdict(machine, 2, number, processor=7) == verdict(machine, 2, number)
