"""Namespaces: no network, no one else's IPC objects, and an empty root folder."""

from __future__ import annotations

import os

from instar_sandbox.errors import WallError
from instar_sandbox.jail import libc

CLONE_NEWNS = 0x00020000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWNET = 0x40000000
OWN = CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWNET

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC = 1, 2, 4, 8
MS_REC, MS_PRIVATE = 1 << 14, 1 << 18
MOUNT_POINTS = ("/tmp", "/dev", "/proc")  # noqa: S108  only covered by a mount, in a namespace of its own


def enter(own_user: bool) -> None:
    """The process is in namespaces of its own; with `own_user` in a user namespace first, as one without rights must.

    Raises WallError where the kernel, or a container's rules, do not allow it.
    """
    try:
        libc.call("unshare", OWN | (CLONE_NEWUSER if own_user else 0))
    except OSError as error:
        raise WallError(error.strerror or "unshare failed") from error


def empty_root() -> None:
    """The root folder is an empty file system that nothing can be written to. After enter(). Raises WallError."""
    try:
        libc.call("mount", b"none\0", b"/\0", 0, MS_REC | MS_PRIVATE, 0)
        for place in MOUNT_POINTS:
            if os.path.isdir(place):
                flags = MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC
                libc.call("mount", b"none\0", place.encode() + b"\0", b"tmpfs\0", flags, b"size=4k,mode=0555\0")
                os.chroot(place)
                os.chdir("/")
                return
    except OSError as error:
        raise WallError(str(error.strerror)) from error
    raise WallError("there is no folder to mount on")
