"""The system calls that a sealed worker may make, as a classic BPF program over struct seccomp_data.

Everything that is not here kills the process. What is not here and might be missed, with the reason:
lseek and read on files, since the position is shared with the host; fstat, since C libraries implement it by
newfstatat, whose path cannot be checked; rt_sigaction, since a worker could then ignore SIGXCPU.
"""

from __future__ import annotations

from struct import Struct

from instar_sandbox.jail.descriptors import FIRST, INPUT, OUTPUT
from instar_sandbox.jail.syscalls import TABLES

INSTRUCTION = Struct("<HBBI")
"""struct sock_filter."""
LOAD, EQUAL, GREATER_EQUAL, ANY_BIT, AND, RETURN = 0x20, 0x15, 0x35, 0x45, 0x54, 0x06
NUMBER, ARCHITECTURE, ARGUMENT = 0, 4, 16
KILL_PROCESS, ALLOW = 0x80000000, 0x7FFF0000
X32_BIT = 0x40000000
SIGN_BIT = 1 << 31
ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}

PROT_READ_WRITE = 0b11
MAP_ANONYMOUS = 0x20
SIGABRT = 6
MADV_DONTNEED, MADV_FREE, MADV_HUGEPAGE, MADV_NOHUGEPAGE = 4, 8, 14, 15
FUTEX_WAIT, FUTEX_WAKE, FUTEX_WAIT_BITSET, FUTEX_WAKE_BITSET = 0, 1, 9, 10
KVM_RUN = 0xAE80
FUTEX_OPTIONS = 128 | 256  # private, real-time clock
OUTPUTS = (OUTPUT, 1, 2)
"""The channel, and /dev/null, where the C library writes why it aborts."""

FREE = (
    "munmap",
    "brk",
    "mremap",
    "rt_sigreturn",
    "rt_sigprocmask",
    "sigaltstack",
    "clock_gettime",
    "gettimeofday",
    "time",
    "getrandom",
    "sched_yield",
    "getpid",
    "gettid",
    "restart_syscall",
    "exit",
    "exit_group",
)
"""Calls that can do no harm whatever their arguments. abort() needs getpid, gettid and rt_sigprocmask."""


def operation(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    """One instruction; the jumps count instructions to skip."""
    return INSTRUCTION.pack(code, if_true, if_false, value)


def load_argument(index: int) -> bytes:
    """The low half of an argument: each one checked here is an int, or has no meaning in its high half."""
    return operation(LOAD, ARGUMENT + 8 * index)


def allow() -> bytes:
    """The call goes through."""
    return operation(RETURN, ALLOW)


def kill() -> bytes:
    """The process ends with SIGSYS."""
    return operation(RETURN, KILL_PROCESS)


def one_of(*values: int) -> bytes:
    """The loaded value decides: allowed if it is one of these."""
    checks = [operation(EQUAL, value, len(values) - 1 - index + 1) for index, value in enumerate(values)]
    return b"".join(checks) + kill() + allow()


def between(first: int, end: int) -> bytes:
    """The loaded value decides: allowed from `first` to before `end`."""
    return operation(GREATER_EQUAL, first, 0, 2) + operation(GREATER_EQUAL, end, 1, 0) + allow() + kill()


def without(bits: int) -> bytes:
    """The loaded value decides: allowed if it has none of these bits."""
    return operation(ANY_BIT, bits, 1, 0) + allow() + kill()


def checked(files: int, process: int, processor: int | None) -> dict[str, bytes]:
    """Calls whose arguments decide, with the code that decides and returns. The most frequent come first."""
    forbidden_protection = ~PROT_READ_WRITE & 0xFFFFFFFF
    plain_memory = load_argument(2) + operation(ANY_BIT, forbidden_protection, 3, 0)
    decisions = {
        "write": load_argument(0) + one_of(*OUTPUTS),
        "read": load_argument(0) + one_of(INPUT),
        "mmap": plain_memory + load_argument(3) + operation(ANY_BIT, MAP_ANONYMOUS, 0, 1) + allow() + kill(),
        "mprotect": load_argument(2) + without(forbidden_protection),
        "madvise": load_argument(2) + one_of(MADV_DONTNEED, MADV_FREE, MADV_HUGEPAGE, MADV_NOHUGEPAGE),
        "futex": load_argument(1)
        + operation(AND, ~FUTEX_OPTIONS & 0xFFFFFFFF)
        + one_of(FUTEX_WAIT, FUTEX_WAKE, FUTEX_WAIT_BITSET, FUTEX_WAKE_BITSET),
        "readv": load_argument(0) + one_of(INPUT),
        "writev": load_argument(0) + one_of(*OUTPUTS),
        "tgkill": load_argument(0)
        + operation(EQUAL, process, 0, 3)
        + load_argument(2)
        + operation(EQUAL, SIGABRT, 0, 1)
        + allow()
        + kill(),
    }
    if files:
        positional = load_argument(0) + between(FIRST, FIRST + files)
        explicit = (  # preadv2 at offset -1 reads at, and moves, the position shared with the host
            load_argument(0)
            + operation(GREATER_EQUAL, FIRST, 0, 6)
            + operation(GREATER_EQUAL, FIRST + files, 5, 0)
            + operation(LOAD, ARGUMENT + 8 * 3 + 4)
            + operation(ANY_BIT, SIGN_BIT, 3, 0)
            + load_argument(5)
            + operation(EQUAL, 0, 0, 1)
            + allow()
            + kill()
        )
        decisions = {"pread64": positional, "preadv": positional, "preadv2": explicit, **decisions}
    if processor is not None:
        running = (
            load_argument(0)
            + operation(EQUAL, processor, 0, 3)
            + load_argument(1)
            + operation(EQUAL, KVM_RUN, 0, 1)
            + allow()
            + kill()
        )
        decisions = {"ioctl": running, **decisions}
    return decisions


def program(machine: str, files: int, process: int, processor: int | None = None) -> bytes:
    """The filter for a worker with that many files and that process id, as an array of struct sock_filter.

    `processor` is the descriptor of a virtual processor that it may run, and do nothing else with.
    """
    numbers = TABLES[machine]
    code = operation(LOAD, ARCHITECTURE) + operation(EQUAL, ARCHITECTURES[machine], 1) + kill()
    code += operation(LOAD, NUMBER)
    if machine == "x86_64":
        code += operation(GREATER_EQUAL, X32_BIT, 0, 1) + kill()
    for name, decision in checked(files, process, processor).items():
        code += operation(EQUAL, numbers[name], 0, len(decision) // 8) + decision
    for name in FREE:
        if name in numbers:
            code += operation(EQUAL, numbers[name], 0, 1) + allow()
    return code + kill()
