"""Landlock: no file can be opened, no TCP port used, no one outside signalled.

Numbers mirror include/uapi/linux/landlock.h.
"""

from __future__ import annotations

import os
import struct

from instar_sandbox.errors import WallError
from instar_sandbox.jail import libc

CREATE_RULESET_VERSION = 1
RESTRICT_SELF_LOG_SAME_EXEC_OFF = 1
"""From ABI 7: a hostile worker cannot fill the audit log with its refusals."""

# The ABI with which each became known, and how many rights the kernel knows from it on.
FILE_RIGHTS = ((5, 16), (3, 15), (2, 14), (1, 13))
NET_RIGHTS = 0b11  # bind and connect TCP, ABI 4
SCOPES = 0b11  # abstract unix sockets and signals, ABI 6


def abi() -> int:
    """The Landlock ABI of this kernel. Raises WallError where there is none."""
    try:
        return libc.call("landlock_create_ruleset", 0, 0, CREATE_RULESET_VERSION)
    except OSError as error:
        raise WallError(f"the kernel has no Landlock: {error.strerror}") from error


def ruleset(version: int) -> bytes:
    """The attributes of a ruleset that handles everything this ABI knows, as struct landlock_ruleset_attr."""
    files = next((1 << count) - 1 for known, count in FILE_RIGHTS if version >= known)
    attributes = struct.pack("<Q", files)
    if version >= 4:
        attributes += struct.pack("<Q", NET_RIGHTS)
    if version >= 6:
        attributes += struct.pack("<Q", SCOPES)
    return attributes


def restrict() -> None:
    """Nothing that Landlock can forbid is allowed. After no_new_privs. Raises WallError."""
    version = abi()
    attributes = ruleset(version)
    try:
        rules = libc.call("landlock_create_ruleset", attributes, len(attributes), 0)
        try:
            libc.call("landlock_restrict_self", rules, RESTRICT_SELF_LOG_SAME_EXEC_OFF if version >= 7 else 0)
        finally:
            os.close(rules)
    except OSError as error:
        raise WallError(f"Landlock refused: {error.strerror}") from error
