"""Walking the block allocation table ([MS-VHDX] 2.5). Payload blocks are counted from 0; offsets are bytes.

It is looked at as arithmetic runs, so a walk costs what the image's fragmentation costs, and at least a step for each
chunk of blocks in use.
"""

from __future__ import annotations

from instar_core.source import arithmetic_runs, join
from instar_vhdx import limits
from instar_vhdx.layout import OFFSET, STATE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from instar_vhdx.opening import Disk

    Entries = tuple[int, int, int, int]
    """First block, how many, the first one's entry without its reserved bits, and what each adds to the one before."""

WIDTH = 8
MASK = OFFSET | STATE


def entries(disk: Disk, first: int, end: int) -> Iterator[Entries]:
    """The entries of blocks `first` to `end` (exclusive), in order, without a gap, in runs as long as they can be."""
    return join(_pieces(disk, first, end), disk.metadata.block)


def _pieces(disk: Disk, first: int, end: int) -> Iterator[Entries]:
    ratio, stride = disk.ratio, disk.metadata.block
    period = (ratio + 1) * WIDTH
    many = max(1, limits.BAT_PIECE // ratio) * ratio
    while first < end:
        stop = min(end, first // ratio * ratio + many)
        at = first // ratio * period + first % ratio * WIDTH
        last = (stop - 1) // ratio * period + ((stop - 1) % ratio + 1) * WIDTH
        data = disk.source.read(disk.bat.offset + at, last - at)
        same = _all_alike(data, first, stop, ratio)
        if same is not None:
            yield first, stop - first, same, 0
            first = stop
            continue
        place = 0
        while first < stop:
            count = min(stop - first, ratio - first % ratio)
            chunk = data[place : place + count * WIDTH]
            for index, length, entry, step in arithmetic_runs(chunk, count, WIDTH, stride, MASK, "little"):
                yield first + index, length, entry, step
            first += count
            place += (count + 1) * WIDTH


def _all_alike(data: bytes, first: int, stop: int, ratio: int) -> int | None:
    """The entry that all blocks of a piece of whole chunks have, if no bitmap is there: the usual empty stretch."""
    if first % ratio or stop - first < 2 * ratio:
        return None
    one = data[:WIDTH]
    whole, rest = divmod(stop - first, ratio)
    chunk = one * ratio + bytes(WIDTH)
    expected = chunk * whole + one * rest if rest else (chunk * whole)[:-WIDTH]
    return int.from_bytes(one, "little") & MASK if data == expected else None


def bitmap_entry(disk: Disk, chunk: int) -> int:
    """The entry of the chunk's sector bitmap block."""
    place = disk.bat.offset + (chunk * (disk.ratio + 1) + disk.ratio) * WIDTH
    return int.from_bytes(disk.source.read(place, WIDTH), "little") & MASK
