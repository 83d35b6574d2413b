"""A file system of one file, mounted where nobody sees it. Runs in a process that has one thread."""

from __future__ import annotations

import os

from instar_core.errors import DeviceError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

CLONE_NEWNS: Final = 0x00020000
CLONE_NEWUSER: Final = 0x10000000
MS_NOSUID, MS_NODEV, MS_NOEXEC = 2, 4, 8
MS_REC, MS_PRIVATE = 1 << 14, 1 << 18
MNT_DETACH: Final = 2
POINTS: Final = "/tmp", "/mnt", "/run", "/"  # noqa: S108  only covered by a mount, in a namespace of its own


def mounted() -> tuple[int, int]:
    """The kernel's end of a new file system, and its root folder, open as a place; it is mounted nowhere any more.

    The process is in a mount namespace of its own then. Raises DeviceError, which says what is missing.
    """
    uid, gid = os.geteuid(), os.getegid()
    try:
        _enter(uid, gid)
    except OSError as error:
        raise _missing("a namespace of its own", error) from error
    try:
        kernel = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)  # from within: who opens it must be who mounts
    except OSError as error:
        raise _missing("/dev/fuse", error) from error
    try:
        options = f"fd={kernel},rootmode=40000,user_id={uid},group_id={gid}"
        point = next(point for point in POINTS if os.path.isdir(point))
        _mount("none", "/", None, MS_REC | MS_PRIVATE, None)
        _mount("instar", point, "fuse", MS_NOSUID | MS_NODEV | MS_NOEXEC, options)
        root = os.open(point, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        _call("umount2", os.fsencode(point), MNT_DETACH)
    except OSError as error:
        os.close(kernel)
        raise _missing("a file system of FUSE", error) from error
    return kernel, root


def opened(root: int, name: bytes, *, write: bool) -> int:
    """The file of that name in the file system, which is being served."""
    return os.open(name, (os.O_RDWR if write else os.O_RDONLY) | os.O_CLOEXEC, dir_fd=root)


def _enter(uid: int, gid: int) -> None:
    if uid == 0:
        try:
            _call("unshare", CLONE_NEWNS)
        except PermissionError:  # root of a container that may do little
            pass
        else:
            return
    _call("unshare", CLONE_NEWNS | CLONE_NEWUSER)
    for name, text in (("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1")):
        descriptor = os.open(f"/proc/self/{name}", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(descriptor, text.encode())
        finally:
            os.close(descriptor)


def _mount(what: str, where: str, kind: str | None, flags: int, options: str | None) -> None:
    import ctypes

    words = [None if text is None else os.fsencode(text) for text in (what, where, kind)]
    _call("mount", *words, ctypes.c_ulong(flags), None if options is None else options.encode())


def _call(name: str, *arguments: object) -> None:
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, name)(*arguments):
        code = ctypes.get_errno()
        raise OSError(code, f"{name}: {os.strerror(code)}")


def _missing(what: str, error: OSError) -> DeviceError:
    return DeviceError(f"{what} cannot be had here ({error.strerror})", errno=error.errno or 0)
