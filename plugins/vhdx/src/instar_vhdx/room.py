"""Where in a file there is room, and what becomes of room that is not needed any more, in bytes."""

from __future__ import annotations

from instar_core.types import Punch
from instar_vhdx.bat import bitmap_entry, entries
from instar_vhdx.layout import BITMAP_PRESENT, MIB, OFFSET, STATE, Payload

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from instar_vhdx.opening import Disk

PLACED = (Payload.FULLY_PRESENT, Payload.PARTIALLY_PRESENT)


def used_end(disk: Disk, blocks: int) -> int:
    """Where the last thing in use ends, in whole MiB: log, regions, the first `blocks` blocks, and bitmaps."""
    size = disk.metadata.block
    end = max(MIB, *(last for _, last in disk.taken))
    for _, count, entry, step in entries(disk, 0, blocks):
        if entry & STATE in PLACED:
            end = max(end, (entry & OFFSET) + step * (count - 1) + size)
    if disk.metadata.parent:
        for chunk in range(-(-blocks // disk.ratio)):
            entry = bitmap_entry(disk, chunk)
            if entry & STATE == BITMAP_PRESENT:
                end = max(end, (entry & OFFSET) + MIB)
    return -(-end // MIB) * MIB


def given_up(disk: Disk, first: int, last: int, end: int) -> Iterator[Punch]:
    """What blocks `first` to `last` (exclusive) held goes, as far as it lies before `end`: what comes later goes with
    the file's end."""
    size = disk.metadata.block
    for _, count, entry, step in entries(disk, first, last):
        if entry & STATE not in PLACED:
            continue
        if step == size:
            yield from _punch(disk, entry & OFFSET, count * size, end)
            continue
        for each in range(count):
            yield from _punch(disk, (entry & OFFSET) + each * step, size, end)


def _punch(disk: Disk, offset: int, length: int, end: int) -> Iterator[Punch]:
    if any(offset < last and first < offset + length for first, last in ((0, MIB), *disk.taken)):
        return
    if offset < end:
        yield Punch(offset, min(length, end - offset))
