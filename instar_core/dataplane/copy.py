"""Moving a range from one open file to another."""

from __future__ import annotations

import errno
import os

from instar_core.dataplane import ioctls
from instar_core.dataplane.buffers import Buffer
from instar_core.dataplane.positional import failed, read_into, write_from
from instar_core.dataplane.sparse import GRAIN, data_ranges

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

BLOCK = 1 << 20
"""Read and written at once: larger blocks leave the processor's cache."""

KERNEL = 64 << 20
"""Moved by the kernel at once, so that progress and a wish to stop come through."""

REFUSED = ioctls.UNSUPPORTED | {errno.EBADF}


def share(source: int, source_offset: int, target: int, target_offset: int, length: int) -> bool:
    """The target holds the range without a byte being moved; whether the file system can do that."""
    try:
        return ioctls.clone(source, source_offset, target, target_offset, length)
    except OSError as error:
        raise failed("writing", target_offset, error) from error


def copy(
    source: int,
    source_offset: int,
    target: int,
    target_offset: int,
    length: int,
    *,
    advance: Callable[[int], None] | None = None,
) -> None:
    """The target holds the range, moved by the kernel where it can, else through a buffer. Zeros are moved as well.

    `advance` is told the length of each step. Raises DeviceError.
    """
    done = 0
    while done < length:
        step = min(KERNEL, length - done)
        try:
            step = os.copy_file_range(source, target, step, source_offset + done, target_offset + done)
        except OSError as error:
            if error.errno not in REFUSED:
                raise failed("copying", source_offset + done, error) from error
            break
        if not step:
            break
        done += step
        if advance:
            advance(step)
    if done < length:
        pump(source, source_offset + done, target, target_offset + done, length - done, sparse=0, advance=advance)


def pump(
    source: int,
    source_offset: int,
    target: int,
    target_offset: int,
    length: int,
    *,
    sparse: int = GRAIN,
    limit: int = 0,
    advance: Callable[[int], None] | None = None,
) -> None:
    """The target holds the range, moved through a buffer; runs of zeros of at least `sparse` bytes are not written.

    With `sparse` 0 all is written. From `limit` on (if not 0) the source reads as zeros. Raises DeviceError.
    """
    buffer = Buffer(min(BLOCK, max(length, 1)))
    done = 0
    while done < length:
        step = min(buffer.size, length - done)
        read_into(source, buffer.view[:step], source_offset + done, limit=limit)
        ranges = (
            data_ranges(buffer.data, buffer.base, step, sparse, target_offset + done)
            if sparse
            else [(buffer.base, step)]
        )
        for at, size in ranges:
            first = at - buffer.base
            write_from(target, buffer.view[first : first + size], target_offset + done + first)
        done += step
        if advance:
            advance(step)
