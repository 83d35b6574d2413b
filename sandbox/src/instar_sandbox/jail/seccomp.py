"""The seal: from here on the kernel kills the process for any call that filter.py does not name."""

from __future__ import annotations

import os
import struct

from instar_sandbox.errors import NoPlatform, WallError
from instar_sandbox.jail import filter, libc
from instar_sandbox.jail.syscalls import numbers

SET_MODE_FILTER = 1
GET_ACTION_AVAIL = 2
TSYNC = 1


def require() -> None:
    """This machine can seal a process. Raises NoPlatform if it cannot."""
    numbers()
    try:
        libc.call("seccomp", GET_ACTION_AVAIL, 0, struct.pack("<I", filter.KILL_PROCESS))
    except OSError as error:
        raise NoPlatform(f"no platform: the kernel cannot confine a process (seccomp: {error.strerror})") from error


def seal(files: int, processor: int | None = None) -> None:
    """All threads of the process are confined to the filter, for ever. After no_new_privs. Raises WallError."""
    code = filter.program(os.uname().machine, files, os.getpid(), processor)
    length = len(code) // 8
    argument = struct.pack("@HxxxxxxQ", length, libc.address(code))
    try:
        refused = libc.call("seccomp", SET_MODE_FILTER, TSYNC, argument)
    except OSError as error:
        raise WallError(f"the system-call filter was refused: {error.strerror}") from error
    if refused:
        raise WallError("another thread of the worker cannot be confined")
