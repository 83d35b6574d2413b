"""System calls that the standard library lacks."""

from __future__ import annotations

import errno
import os

from instar_sandbox.jail._libc import ffi
from instar_sandbox.jail.syscalls import TABLES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mmap import mmap

    Argument = int | bytes | bytearray

LIBC = ffi.dlopen(None)
NUMBERS = TABLES.get(os.uname().machine, {})

PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_GET_SECCOMP = 21
PR_CAPBSET_DROP = 24
PR_SET_NO_NEW_PRIVS = 38
PR_GET_NO_NEW_PRIVS = 39


def call(name: str, *arguments: Argument) -> int:
    """What the system call returned; buffers are passed by address. Raises OSError if it failed."""
    number = NUMBERS.get(name)
    if number is None:
        raise OSError(errno.ENOSYS, f"{name}: not known on this machine")
    buffers = [item for item in arguments if not isinstance(item, int)]
    held = [ffi.from_buffer(item) for item in buffers]  # keeps the addresses valid until the call is over
    addresses = iter([int(ffi.cast("uintptr_t", item)) for item in held])
    words = [item & (1 << 64) - 1 if isinstance(item, int) else next(addresses) for item in arguments]
    result: int = LIBC.syscall(number, *words, *(0,) * (6 - len(words)))
    if result == -1:
        code = ffi.errno
        raise OSError(code, f"{name}: {os.strerror(code)}")
    return result


def prctl(option: int, argument: int = 0) -> None:
    """call("prctl", ...), cheaper. Raises OSError."""
    if LIBC.syscall(NUMBERS["prctl"], option, argument, 0, 0, 0, 0) == -1:
        raise OSError(ffi.errno, f"prctl {option}: {os.strerror(ffi.errno)}")


def memory(start: int, length: int) -> memoryview:
    """The bytes at an address, to read and to write. They must be there, for as long as they are looked at."""
    return memoryview(ffi.buffer(ffi.cast("char *", start), length))


def address(buffer: bytes | bytearray | mmap) -> int:
    """Where the buffer lies, as long as the caller keeps it."""
    return int(ffi.cast("uintptr_t", ffi.from_buffer(buffer)))
