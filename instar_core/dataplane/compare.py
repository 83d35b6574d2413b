"""Whether two disks hold the same, and where they first differ."""

from __future__ import annotations

from instar_core.dataplane.sparse import ZEROS, is_zero
from instar_core.errors import Cancelled

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from instar_core.dataplane.content import Content
    from instar_core.dataplane.plans import Block

BLOCK = 2 << 20
SECTOR = 512
SAME = -1


def compare(
    first: Content,
    second: Content,
    start: int,
    end: int,
    *,
    progress: Callable[[int], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> int:
    """The place of the first sector from `start` to `end` in which the two differ; SAME if there is none.

    `progress` is told how far they are the same. Raises FormatError, DeviceError, Cancelled.
    """
    streams = first.blocks(BLOCK, start, end), second.blocks(BLOCK, start, end)
    left, right = _Stream(streams[0]), _Stream(streams[1])
    at = start
    try:
        while at < end:
            if cancelled is not None and cancelled():
                raise Cancelled("stopped")
            one, other = left.at(at), right.at(at)
            stop = min(one.start + one.length, other.start + other.length)
            found = _differ(one, other, at, stop - at)
            if found >= 0:
                return at + found - (at + found) % SECTOR
            at = stop
            if progress is not None:
                progress(at)
    finally:
        for stream in streams:
            stream.close()  # type: ignore[attr-defined]
    return SAME


def first_data(content: Content, start: int, end: int, *, cancelled: Callable[[], bool] | None = None) -> int:
    """The place of the first sector from `start` to `end` that is not all zeros; SAME if there is none."""
    stream = content.blocks(BLOCK, start, end)
    try:
        for block in stream:
            if cancelled is not None and cancelled():
                raise Cancelled("stopped")
            found = -1 if block.zero else _not_zero(block, block.start, block.length)
            if found >= 0:
                place = block.start + found
                return place - place % SECTOR
    finally:
        stream.close()  # type: ignore[attr-defined]
    return SAME


class _Stream:
    """The block at a place, from a stream of blocks that ascend."""

    def __init__(self, blocks: object) -> None:
        self._blocks: Generator[Block, None, None] = blocks  # type: ignore[assignment]
        self._block: Block | None = None

    def at(self, place: int) -> Block:
        """The block that holds `place`, which never goes back."""
        while self._block is None or self._block.start + self._block.length <= place:
            self._block = next(self._blocks)
        return self._block


def _differ(one: Block, other: Block, start: int, length: int) -> int:
    """Distance from `start` to the first byte of the sector in which two blocks differ, or -1."""
    if one.zero and other.zero:
        return -1
    if one.zero:
        return _not_zero(other, start, length)
    if other.zero:
        return _not_zero(one, start, length)
    assert one.buffer is not None and other.buffer is not None
    view = memoryview(other.buffer.data)
    base = other.at + start - other.start
    return _search(one, start, length, lambda at, size: view[base + at : base + at + size])


def _not_zero(block: Block, start: int, length: int) -> int:
    assert block.buffer is not None
    if is_zero(block.buffer.data, block.at + start - block.start, length):
        return -1
    zeros = memoryview(ZEROS)
    for at in range(0, length, len(ZEROS)):
        found = _search(block, start + at, min(len(ZEROS), length - at), lambda _, size: zeros[:size])
        if found >= 0:
            return at + found
    return -1


def _search(block: Block, start: int, length: int, wanted: Callable[[int, int], memoryview]) -> int:
    """Distance to the first sector where the block is not as `wanted(distance, length)` says, by halving; or -1."""
    assert block.buffer is not None
    data = block.buffer.data
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
