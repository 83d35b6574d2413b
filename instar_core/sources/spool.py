"""A source as a file without a name: copied whole before anything is read, where it cannot be served in place."""

from __future__ import annotations

import errno
import os

from instar_core import limits
from instar_core.errors import DeviceError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from instar_core.sources.backend import Backend

STEP: Final = 1 << 20
MODE: Final = 0o600


def spooled(backend: Backend, folder: str, limit: int = limits.SPOOL) -> int:
    """An open file with the source's whole content, its holes left out. Raises DeviceError, also where it is larger
    than `limit` bytes or than what is free in the folder."""
    size = backend.size
    if size is not None:
        _bounded(size, limit)
    try:
        file = os.open(folder, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, MODE)
    except OSError as error:
        raise DeviceError(f"no file can be made in '{folder}': {error.strerror}", errno=error.errno or 0) from error
    try:
        if size is None or not backend.anywhere:
            _pour(backend, file, size, folder, limit)
        else:
            _fill(backend, file, size, folder)
        read_only = os.open(f"/proc/self/fd/{file}", os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise _full(folder, error) from error
    finally:
        os.close(file)
    return read_only


def _fill(backend: Backend, file: int, size: int, folder: str) -> None:
    os.ftruncate(file, size)
    stretches = _data(backend, size)
    needed = sum(length for _, length in stretches)
    facts = os.statvfs(folder)
    free = facts.f_bavail * facts.f_frsize
    if needed > free:
        raise DeviceError(f"{needed} bytes have to be kept in '{folder}', where {free} are free", errno=errno.ENOSPC)
    for start, length in stretches:
        for at in range(start, start + length, STEP):
            _write(file, backend.read(at, min(STEP, start + length - at)), at)


def _data(backend: Backend, size: int) -> list[tuple[int, int]]:
    """Where there is data."""
    found: list[tuple[int, int]] = []
    at = 0
    while at < size:
        before = at
        for length, data in backend.extents(at, size - at):
            inside = max(0, min(length, size - at))
            if data and inside:
                found.append((at, inside))
            at += inside
        if at == before:
            raise DeviceError("the source does not say what lies there", errno=errno.EIO)
    return found


def _pour(backend: Backend, file: int, size: int | None, folder: str, limit: int) -> None:
    at = 0
    for piece in backend.stream():
        _bounded(at + len(piece), limit)
        _write(file, piece, at)
        at += len(piece)
    if size is not None and at != size:
        raise DeviceError(f"the source gave {at} bytes of {size}", errno=errno.EIO)


def _write(file: int, data: bytes, at: int) -> None:
    view = memoryview(data)
    while view:
        done = os.pwrite(file, view, at)
        at += done
        view = view[done:]


def _bounded(size: int, limit: int) -> None:
    if size > limit:
        raise DeviceError(
            f"the source would have to be copied whole, and is larger than {limit} bytes", errno=errno.EFBIG
        )


def _full(folder: str, error: OSError) -> DeviceError:
    if error.errno == errno.ENOSPC:
        return DeviceError(f"there is no room in '{folder}' for a copy of the source", errno=errno.ENOSPC)
    return DeviceError(error.strerror or str(error), errno=error.errno or errno.EIO)
