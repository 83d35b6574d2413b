"""Opening files: the only module that does, and without parsing a byte of them.

A name that an image gives is opened as a place first (O_PATH: no side effects, no magic links), judged by its
descriptor, and then read through that same descriptor, so that nothing can be exchanged in between.
"""

from __future__ import annotations

import errno
import os
import stat

from instar_core.errors import DeviceError, InstarError, PolicyError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from instar_core.sources.opening import Served

SECTOR = 512
OPENAT2 = 437
RESOLVE_NO_MAGICLINKS = 0x02
KINDS = {
    stat.S_IFIFO: "a FIFO",
    stat.S_IFCHR: "a character device",
    stat.S_IFDIR: "a folder",
    stat.S_IFSOCK: "a socket",
}


class Device:
    """An open file: its name, descriptor, size and allocated bytes. `block` for a block device; `locked` once locks
    were taken on it. `served` is the process behind a source, which is a file only here; None for what lies on this
    machine."""

    __slots__ = ("allocated", "block", "descriptor", "identity", "locked", "path", "served", "size")

    def __init__(self, path: str, descriptor: int, served: Served | None = None) -> None:
        self.path = path
        self.descriptor = descriptor
        self.served = served
        self.locked = False
        facts = os.fstat(descriptor)
        self.block = stat.S_ISBLK(facts.st_mode)
        self.identity = _identity(facts)
        self.size = os.lseek(descriptor, 0, os.SEEK_END) if self.block else facts.st_size
        self.allocated = facts.st_blocks * SECTOR

    def close(self) -> None:
        """The descriptor is closed, and nothing is locked by it: a worker that is about to end may have it too."""
        if self.descriptor >= 0:
            if self.locked:
                from instar_core import locks

                locks.release(self)
            descriptor, self.descriptor = self.descriptor, -1
            if self.served is not None:
                self._leave(self.served, descriptor)
            else:
                os.close(descriptor)

    @staticmethod
    def _leave(served: Served, descriptor: int) -> None:
        """The descriptor is closed; an error that is on its way says what went wrong at the source."""
        import sys

        error = sys.exc_info()[1]
        if isinstance(error, InstarError) and not error.hint:
            cause = error.__cause__ or error
            ended = getattr(cause, "errno", 0) in (errno.ENOTCONN, errno.ECONNABORTED)
            error.hint = served.trouble(ended=ended)
        try:
            os.close(descriptor)
        except OSError:  # the process has ended
            return
        finally:
            served.release()

    @property
    def fixed(self) -> bool:
        """Whether it has the size that it has, as a block device does: an image in it need not fill it."""
        return self.block or self.served is not None

    def refresh(self) -> None:
        """Size and allocated bytes are those of now."""
        facts = os.fstat(self.descriptor)
        if not self.block:
            self.size = facts.st_size
        self.allocated = facts.st_blocks * SECTOR

    def place(self) -> str:
        """Where the open file really lies; of a source, its name, which is in no folder."""
        if self.served is not None:
            return self.path
        return os.readlink(f"/proc/self/fd/{self.descriptor}")


def _identity(facts: os.stat_result) -> tuple[int, int]:
    return (facts.st_rdev, -1) if stat.S_ISBLK(facts.st_mode) else (facts.st_dev, facts.st_ino)


def identity(path: str) -> tuple[int, int] | None:
    """The identity that the file at `path` has as a Device, None where there is none."""
    try:
        return _identity(os.stat(path))
    except OSError:
        return None


def refusal(path: str, error: OSError) -> DeviceError:
    """The operating system's refusal to open `path`, in qemu-img's words."""
    return DeviceError(f"Could not open '{path}': {os.strerror(error.errno or 0)}", errno=error.errno or 0, path=path)


def _source(name: str, write: bool, writable: bool = False) -> Device | None:
    """The source of that name; None where no source has such a name."""
    if ":" not in name or "/" in name.partition(":")[0]:
        return None
    from instar_core.sources import names

    if not names.is_source(name):
        return None
    from instar_core.sources import opening

    descriptor, served = opening.opened(name, write=write, writable=write or writable)
    return _device(served.shown, descriptor, served)


def open_named(path: str, *, write: bool = False, direct: bool = False, writable: bool = False) -> Device:
    """The file that the caller names, open for reading (and writing). Nothing is created or changed.

    A name of a protocol that a source plugin speaks is opened by that; `writable` says that it will be reopened for
    writing, which one that was opened for reading alone cannot be. Raises DeviceError where it cannot be opened or is
    neither a regular file nor a block device.
    """
    found = _source(path, write, writable)
    if found is None and (write or writable) and os.path.isdir(path):
        raise refusal(path, IsADirectoryError(errno.EISDIR, ""))
    return found or open_path(path, write=write, direct=direct)


def open_path(path: str, *, write: bool = False, direct: bool = False) -> Device:
    """The file at the path, whatever that looks like; else as open_named."""
    flags = (os.O_RDWR if write else os.O_RDONLY) | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
    try:
        facts = os.stat(path)
        if not stat.S_ISREG(facts.st_mode) and not stat.S_ISBLK(facts.st_mode):
            raise DeviceError(f"'file' driver requires '{path}' to be a regular file", errno=errno.EINVAL, path=path)
        descriptor = os.open(path, flags | (os.O_DIRECT if direct else 0))
    except OSError as error:
        raise refusal(path, error) from error
    return _device(path, descriptor)


def reopen(device: Device, *, write: bool = False, sync: bool = False) -> Device:
    """The very file that is open, opened once more for reading (and writing); what lies at its name does not matter.

    With `sync` each write is on stable storage when it returns. Raises DeviceError.
    """
    flags = (os.O_RDWR if write else os.O_RDONLY) | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
    try:
        descriptor = os.open(f"/proc/self/fd/{device.descriptor}", flags | (os.O_DSYNC if sync else 0))
    except OSError as error:
        raise refusal(device.path, error) from error
    return _device(device.path, descriptor, device.served and device.served.share())


def once_more(device: Device) -> Device | None:
    """A source that is open, reopened, since it may let nobody else in; None for files, which are found by name."""
    return None if device.served is None else reopen(device)


def _device(path: str, descriptor: int, served: Served | None = None) -> Device:
    try:
        device = Device(path, descriptor, served)
    except OSError as error:
        os.close(descriptor)
        if served is not None:
            served.release()
        raise refusal(path, error) from error
    if not device.block and not stat.S_ISREG(os.fstat(descriptor).st_mode):
        device.close()
        raise DeviceError(f"'file' driver requires '{path}' to be a regular file", errno=errno.EINVAL, path=path)
    return device


class Place:
    """A file that an image names, opened as a place: nothing was read, nothing can have happened by it."""

    __slots__ = ("descriptor", "kind", "path", "real")

    def __init__(self, path: str) -> None:
        self.path = path
        try:
            self.descriptor = _open_place(path)
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise PolicyError(f"'{path}' leads through a magic link", path=path) from error
            raise refusal(path, error) from error
        self.kind = stat.S_IFMT(os.fstat(self.descriptor).st_mode)
        self.real = os.readlink(f"/proc/self/fd/{self.descriptor}")

    @property
    def block(self) -> bool:
        """Whether it is a block device."""
        return self.kind == stat.S_IFBLK

    def described(self) -> str:
        """What kind of file it is, in words; empty for regular files and block devices."""
        return "" if self.kind in (stat.S_IFREG, stat.S_IFBLK) else KINDS.get(self.kind, "no regular file")

    def open(self, *, write: bool = False) -> Device:
        """The very file that was judged, open for reading (and writing)."""
        flags = (os.O_RDWR if write else os.O_RDONLY) | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
        try:
            descriptor = os.open(f"/proc/self/fd/{self.descriptor}", flags)
        except OSError as error:
            raise refusal(self.path, error) from error
        return _device(self.path, descriptor)

    def close(self) -> None:
        """The place is let go."""
        os.close(self.descriptor)


def _open_place(path: str) -> int:
    """A descriptor of the place; magic links (those of /proc that lead to open files) are not followed (ELOOP)."""
    import ctypes

    class Request(ctypes.Structure):
        """struct open_how of openat2(2)."""

        _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))

    libc: Any = ctypes.CDLL(None, use_errno=True)
    how = Request(os.O_PATH | os.O_CLOEXEC, 0, RESOLVE_NO_MAGICLINKS)
    got: int = libc.syscall(
        ctypes.c_long(OPENAT2), -100, ctypes.c_char_p(os.fsencode(path)), ctypes.byref(how), ctypes.sizeof(how)
    )
    if got >= 0:
        return got
    code = ctypes.get_errno()
    if code not in (errno.ENOSYS, errno.EPERM):
        raise OSError(code, os.strerror(code), path)
    if os.path.realpath(path).startswith("/proc/"):
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
    return os.open(path, os.O_PATH | os.O_CLOEXEC)


def create(path: str, *, exclusive: bool = False) -> tuple[Device, bool]:
    """The file at `path`, open for reading and writing, and whether this call made it. An existing one is left as it
    is."""
    found = _source(path, True)
    if found is not None:
        return found, False
    flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOCTTY
    try:
        try:
            descriptor, made = os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o644), True
        except FileExistsError:
            if exclusive:
                raise
            descriptor, made = os.open(path, flags | os.O_NONBLOCK), False
    except OSError as error:
        text = os.strerror(error.errno or 0)
        raise DeviceError(f"Could not create '{path}': {text}", errno=error.errno or 0, path=path) from error
    kind = os.fstat(descriptor).st_mode
    if stat.S_ISCHR(kind) or stat.S_ISFIFO(kind):
        os.close(descriptor)
        why = "Cannot grow device files" if stat.S_ISCHR(kind) else "Could not resize file: Invalid argument"
        raise DeviceError(why, errno=errno.EINVAL, path=path)
    return _device(path, descriptor), made


def remove(path: str) -> None:
    """The file is gone, if it was there."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        return
