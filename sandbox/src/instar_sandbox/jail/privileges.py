"""No user id worth having, no groups, no capabilities, no way to gain any."""

from __future__ import annotations

import os

from instar_sandbox.errors import WallError
from instar_sandbox.jail import libc

NOBODY = 65534
CAPABILITY_VERSION_3 = 0x20080522
CAPABILITIES = 64
"""More than any kernel has; the loop ends at the first that it does not know."""


def leave_root() -> None:
    """A process of root has the user and group id NOBODY and no other groups. Raises WallError if that is refused."""
    if os.geteuid() and os.getuid():
        return
    try:
        os.setgroups(())
    except OSError:  # denied for good in some user namespaces, where the groups are worth nothing outside
        groups = os.getgroups()
    else:
        groups = []
    try:
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
    except OSError as error:
        raise WallError(f"root cannot be left: {error.strerror}") from error
    if groups:
        raise WallError("the groups of root cannot be left")


def drop_bounding_set() -> None:
    """No program executed later could regain a capability. Best effort: it needs CAP_SETPCAP, before root is left."""
    for capability in range(CAPABILITIES):
        try:
            libc.prctl(libc.PR_CAPBSET_DROP, capability)
        except OSError:
            return


def drop_capabilities() -> None:
    """The process has no capability. Raises WallError if the kernel says otherwise."""
    import struct

    head = struct.pack("<Ii", CAPABILITY_VERSION_3, 0)
    have = bytearray(24)
    try:
        libc.call("capset", head, bytes(24))
        libc.call("capget", head, have)
    except OSError as error:
        raise WallError(f"capabilities cannot be dropped: {error.strerror}") from error
    if any(have):
        raise WallError("capabilities remain after they were dropped")


def no_new() -> None:
    """Nothing that this process executes can have more rights than it. Raises WallError."""
    try:
        libc.prctl(libc.PR_SET_NO_NEW_PRIVS, 1)
    except OSError as error:
        raise WallError(f"no_new_privs cannot be set: {error.strerror}") from error
