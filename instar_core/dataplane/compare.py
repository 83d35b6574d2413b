"""Whether two disks read the same, and where they first differ."""

from __future__ import annotations

from instar_core.dataplane.coding import CodecPool
from instar_core.dataplane.content import blocks
from instar_core.dataplane.sparse import ZEROS, is_zero
from instar_core.errors import Cancelled

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from instar_core.dataplane.plans import Block
    from instar_core.piece import Piece

BLOCK = 2 << 20
DEPTH = 4
"""Buffers of the second disk that are ready to be compared."""
SECTOR = 512


def compare(
    first: Iterator[Piece],
    second: Iterator[Piece],
    sizes: tuple[int, int],
    *,
    progress: Callable[[int], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
    sandbox: str = "auto",
    guarded: bool = False,
) -> int | None:
    """The place of the first sector in which two disks of these sizes differ, or None. A shorter one goes on as zeros.

    `progress` is told how far they are the same. No worker sees the memory of this process if it is `guarded`. Raises
    FormatError, DeviceError, Cancelled.
    """
    end = max(sizes)
    # A pool for each: the second disk is read in a thread of its own.
    with CodecPool(sandbox, guarded=guarded) as pool, CodecPool(sandbox, guarded=guarded) as further:
        streams = blocks(first, pool, BLOCK, 0, end), blocks(second, further, BLOCK, 0, end, depth=DEPTH)
        one, other = _Stream(streams[0]), _Stream(streams[1])
        try:
            at = 0
            while at < end:
                if cancelled is not None and cancelled():
                    raise Cancelled("stopped")
                left, right = one.at(at), other.at(at)
                stop = min(left.start + left.length, right.start + right.length)
                found = _differ(left, right, at, stop - at)
                if found >= 0:
                    return (at + found) // SECTOR * SECTOR
                at = stop
                if progress is not None:
                    progress(at)
        finally:
            for stream in streams:
                stream.close()
    return None


class _Stream:
    """The block at a place, from a stream of blocks that ascend."""

    def __init__(self, stream: Generator[Block, None, None]) -> None:
        self._stream = stream
        self._block: Block | None = None

    def at(self, place: int) -> Block:
        """The block that holds `place`, which never goes back."""
        while self._block is None or self._block.start + self._block.length <= place:
            self._block = next(self._stream)
        return self._block


def _differ(one: Block, other: Block, start: int, length: int) -> int:
    """Distance from `start` to the first sector in which two blocks differ, or -1."""
    if one.zero and other.zero:
        return -1
    if one.zero:
        return _not_zero(other, start, length)
    if other.zero:
        return _not_zero(one, start, length)
    view = memoryview(other.memory.data)
    base = other.at + start - other.start
    return _search(one, start, length, lambda at, size: view[base + at : base + at + size])


def _not_zero(block: Block, start: int, length: int) -> int:
    if is_zero(block.memory.data, block.at + start - block.start, length):
        return -1
    zeros = memoryview(ZEROS)
    for at in range(0, length, len(ZEROS)):
        found = _search(block, start + at, min(len(ZEROS), length - at), lambda _, size: zeros[:size])
        if found >= 0:
            return at + found
    return -1


def _search(block: Block, start: int, length: int, wanted: Callable[[int, int], memoryview]) -> int:
    """Distance to the first sector where the block is not as `wanted(distance, length)` says, by halving; or -1."""
    data = block.memory.data
    base = block.at + start - block.start
    # startswith compares by memcmp; == of memoryviews goes byte by byte.
    if data.startswith(wanted(0, length), base):
        return -1
    at = 0
    while length > SECTOR:
        half = (length // 2 + SECTOR - 1) // SECTOR * SECTOR
        if data.startswith(wanted(at, half), base + at):
            at += half
            length -= half
        else:
            length = half
    return at
