"""System call numbers of the architectures that the jail knows.

The names are the kernel's; the numbers mirror arch/x86/entry/syscalls/syscall_64.tbl and
include/uapi/asm-generic/unistd.h.
"""

from __future__ import annotations

import os
import sys

from instar_sandbox.errors import NoPlatform

X86_64 = {
    "read": 0,
    "write": 1,
    "mmap": 9,
    "mprotect": 10,
    "munmap": 11,
    "brk": 12,
    "rt_sigprocmask": 14,
    "rt_sigreturn": 15,
    "ioctl": 16,
    "pread64": 17,
    "readv": 19,
    "writev": 20,
    "sched_yield": 24,
    "mremap": 25,
    "madvise": 28,
    "getpid": 39,
    "exit": 60,
    "gettimeofday": 96,
    "capget": 125,
    "capset": 126,
    "sigaltstack": 131,
    "prctl": 157,
    "mount": 165,
    "gettid": 186,
    "time": 201,
    "futex": 202,
    "restart_syscall": 219,
    "clock_gettime": 228,
    "exit_group": 231,
    "tgkill": 234,
    "unshare": 272,
    "fallocate": 285,
    "preadv": 295,
    "preadv2": 327,
    "seccomp": 317,
    "getrandom": 318,
    "close_range": 436,
    "landlock_create_ruleset": 444,
    "landlock_restrict_self": 446,
}

AARCH64 = {
    "ioctl": 29,
    "mount": 40,
    "fallocate": 47,
    "read": 63,
    "write": 64,
    "readv": 65,
    "writev": 66,
    "pread64": 67,
    "preadv": 69,
    "capget": 90,
    "capset": 91,
    "exit": 93,
    "exit_group": 94,
    "unshare": 97,
    "futex": 98,
    "clock_gettime": 113,
    "sched_yield": 124,
    "restart_syscall": 128,
    "tgkill": 131,
    "sigaltstack": 132,
    "rt_sigprocmask": 135,
    "rt_sigreturn": 139,
    "prctl": 167,
    "gettimeofday": 169,
    "getpid": 172,
    "gettid": 178,
    "brk": 214,
    "munmap": 215,
    "mremap": 216,
    "mmap": 222,
    "mprotect": 226,
    "madvise": 233,
    "seccomp": 277,
    "getrandom": 278,
    "preadv2": 286,
    "close_range": 436,
    "landlock_create_ruleset": 444,
    "landlock_restrict_self": 446,
}

TABLES = {"x86_64": X86_64, "aarch64": AARCH64}


def numbers(machine: str | None = None) -> dict[str, int]:
    """The table of this machine. Raises NoPlatform for one that the jail does not know, and for 32-bit programs."""
    if machine is None:
        machine = os.uname().machine
    if machine not in TABLES or sys.maxsize < 1 << 32:
        raise NoPlatform(f"no platform: the process sandbox does not know the system calls of this {machine} program")
    return TABLES[machine]
