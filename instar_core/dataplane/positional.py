"""Reading and writing whole ranges of open files at their places; failures become DeviceError.

Descriptors opened with O_DIRECT take only aligned requests. What is not aligned (the end of an image, a header) goes
through the page cache: the flag is taken off for that one request; the kernel keeps it coherent with direct ones.
"""

from __future__ import annotations

import errno
import fcntl
import os

from instar_core.dataplane.sparse import ZEROS
from instar_core.errors import DeviceError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

ALIGNMENT = 4096
"""Of memory, offsets and lengths with O_DIRECT: no device that Linux drives needs more."""

ONCE = 1 << 30
"""Linux moves at most 2 GiB less a page in one call."""


def failed(verb: str, place: int, error: OSError) -> DeviceError:
    """The operating system's refusal, in qemu-img's words."""
    code = error.errno or errno.EIO
    return DeviceError(f"error while {verb} at byte {place}: {os.strerror(code)}", errno=code, offset=place)


def is_direct(descriptor: int) -> bool:
    """Whether the file is open with O_DIRECT."""
    return bool(fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_DIRECT)


def set_direct(descriptor: int, on: bool) -> bool:
    """Whether the file is open with O_DIRECT from now on; it never is where its file system cannot do that."""
    flags = fcntl.fcntl(descriptor, fcntl.F_GETFL)
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETFL, flags | os.O_DIRECT if on else flags & ~os.O_DIRECT)
    except OSError:
        return False
    return on


def read_into(descriptor: int, view: memoryview, offset: int, *, limit: int = 0, place: int | None = None) -> None:
    """The view holds the file's bytes from `offset` on; with a `limit`, zeros from there on.

    Raises DeviceError where the file ends before, or cannot be read; `place` is where on the disk that is, for the
    message.
    """
    length = len(view)
    if limit and offset + length > limit:
        inside = max(0, limit - offset)
        clear(view[inside:])
        view, length = view[:inside], inside
    done = 0
    try:
        while done < length:
            got = _read(descriptor, view[done : done + ONCE] if done or length > ONCE else view, offset + done)
            if not got:
                raise OSError(errno.EIO, "end of file")
            done += got
    except OSError as error:
        raise failed("reading", offset + done if place is None else place + done, error) from error


def write_from(descriptor: int, view: memoryview, offset: int, *, place: int | None = None) -> None:
    """The file holds the view's bytes at `offset`. Raises DeviceError; see read_into for `place`."""
    length = len(view)
    done = 0
    try:
        while done < length:
            done += _write(descriptor, view[done : done + ONCE] if done or length > ONCE else view, offset + done)
    except OSError as error:
        raise failed("writing", offset + done if place is None else place + done, error) from error


def clear(view: memoryview) -> None:
    """The view holds zeros."""
    for at in range(0, len(view), len(ZEROS)):
        step = min(len(ZEROS), len(view) - at)
        view[at : at + step] = memoryview(ZEROS)[:step]


def _read(descriptor: int, view: memoryview, offset: int) -> int:
    try:
        return os.preadv(descriptor, (view,), offset)
    except OSError as error:
        if error.errno != errno.EINVAL or not is_direct(descriptor):
            raise
    return _buffered(descriptor, lambda: os.preadv(descriptor, (view,), offset))


def _write(descriptor: int, view: memoryview, offset: int) -> int:
    try:
        return os.pwrite(descriptor, view, offset)
    except OSError as error:
        if error.errno != errno.EINVAL or not is_direct(descriptor):
            raise
    return _buffered(descriptor, lambda: os.pwrite(descriptor, view, offset))


def _buffered(descriptor: int, call: Callable[[], int]) -> int:
    """What the call gives while O_DIRECT is off."""
    flags = fcntl.fcntl(descriptor, fcntl.F_GETFL)
    fcntl.fcntl(descriptor, fcntl.F_SETFL, flags & ~os.O_DIRECT)
    try:
        return call()
    finally:
        fcntl.fcntl(descriptor, fcntl.F_SETFL, flags)
