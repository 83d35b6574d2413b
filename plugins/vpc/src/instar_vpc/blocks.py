"""Walking the block allocation table. Entries are sectors of the file; offsets and lengths are bytes.

The table is looked at as arithmetic runs, so a walk costs what the image's fragmentation costs.
"""

from __future__ import annotations

from struct import Struct

from instar_vpc import limits
from instar_vpc.layout import SECTOR, UNUSED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from instar_core.source import Source


def blocks(source: Source, table: int, stride: int, first: int, end: int) -> Iterator[tuple[int, int, int | None]]:
    """Runs of blocks `first` to `end` (exclusive), in order, without a gap: number, how many, offset of the first.

    The offset is that of the block's sector bitmap, None where the blocks are not in the file. Blocks of a run follow
    one another, `stride` bytes apart.
    """
    step = stride // SECTOR
    for at in range(first, end, limits.TABLE_PIECE):
        count = min(limits.TABLE_PIECE, end - at)
        for index, length, entry, by in source.runs(table + at * 4, count, 4, step):
            number = at + index
            if entry == UNUSED and not by:
                yield number, length, None
            elif not by:
                for each in range(length):
                    yield number + each, 1, entry * SECTOR
            elif entry + by * (length - 1) == UNUSED:
                # By chance the entry that stands for no block continues the run.
                yield number, length - 1, entry * SECTOR
                yield number + length - 1, 1, None
            else:
                yield number, length, entry * SECTOR


def last_entry(source: Source, table: int, count: int) -> int | None:
    """The highest entry of the table that stands for a block; None where none does."""
    highest = -1
    for at in range(0, count, limits.TABLE_PIECE):
        length = min(limits.TABLE_PIECE, count - at)
        data = source.read(table + at * 4, length * 4)
        if data.count(b"\xff") == len(data):
            continue
        entries = Struct(f">{length}I").unpack(data)
        top = max(entries)
        if top == UNUSED:
            top = max(set(entries) - {UNUSED})
        highest = max(highest, top)
    return None if highest < 0 else highest
