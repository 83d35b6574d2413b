"""Changing the block allocation table that is there: entries, which are written whole or not at all."""

from __future__ import annotations

from instar_core.limits import PUT
from instar_core.types import Put
from instar_vhdx.opening import table_entries

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from instar_vhdx.opening import Disk

WIDTH = 8


def index(disk: Disk, block: int) -> int:
    """The number in the table of a payload block's entry: after each chunk's blocks comes that of its bitmap."""
    return block + block // disk.ratio


def entry_puts(disk: Disk, changed: list[tuple[int, int]]) -> Iterator[Put]:
    """The entries of these blocks, (block, entry) ascending, are put in stretches of neighbours."""
    parts: list[bytes] = []
    first = 0
    for block, entry in changed:
        place = index(disk, block)
        if parts and (place != first + len(parts) or len(parts) * WIDTH >= PUT):
            yield Put(disk.bat.offset + first * WIDTH, b"".join(parts))
            parts = []
        if not parts:
            first = place
        parts.append(entry.to_bytes(WIDTH, "little"))
    if parts:
        yield Put(disk.bat.offset + first * WIDTH, b"".join(parts))


def absent(disk: Disk, table: int, first: int, end: int) -> Iterator[Put]:
    """Blocks `first` to `end` (exclusive) are not present in the table at `table`, nor are bitmaps that only they need.

    What is so already is left.
    """
    ratio = disk.ratio
    start, stop = index(disk, first), table_entries(end, ratio, disk.metadata.parent)
    shared = (first // ratio + 1) * (ratio + 1) - 1 if first % ratio else -1
    step = PUT // WIDTH
    for at in range(start, stop, step):
        count = min(step, stop - at)
        have = disk.source.read(table + at * WIDTH, count * WIDTH, pad=True)
        data = bytearray(count * WIDTH)
        if at <= shared < at + count:
            place = (shared - at) * WIDTH
            data[place : place + WIDTH] = have[place : place + WIDTH]
        if have != data:
            yield Put(table + at * WIDTH, bytes(data))
