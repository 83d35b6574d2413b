"""Mending a Parallels image, in phases after each of which it is no worse than before.

Entries that lead outside are cleared before anything is placed where they lead; clusters that two entries share are
copied before an entry leads to the copy; the header is last.
"""

from __future__ import annotations

from instar_core import limits as core_limits
from instar_core.types import Barrier, Put, Truncate
from instar_parallels import limits
from instar_parallels.check import copies, duplicates, image_end
from instar_parallels.clusters import Where, stretches
from instar_parallels.layout import DATA_OFF_AT, HEADER, IN_USE, IN_USE_AT, SECTOR
from instar_parallels.opening import open_disk
from instar_parallels.writable import aligned

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from instar_core.source import Image, Source
    from instar_core.types import Edit, Repair
    from instar_parallels.opening import Disk


def mending(image: Image, request: Repair) -> Iterator[Edit]:
    """What a check calls repairable is mended; with the mode leaks only the end of the file is."""
    source = image.main
    disk = open_disk(source)
    every = request.mode == "all"
    if every:
        yield from _without_outsiders(source, disk)
    end = image_end(source, disk)
    moved: list[tuple[int, int]] = []
    if every:
        at = aligned(disk, end)
        left = copies(disk, end)
        for entry, offset in duplicates(source, disk):
            if not left:
                break
            yield from _copied(source, offset, at, disk.cluster)
            moved.append((entry, at))
            end = at = at + disk.cluster
            left -= 1
    if moved or disk.end > end or (every and disk.misplaced and disk.end < end):
        yield Truncate(end)
    yield Barrier()
    if moved:
        for entry, at in moved:
            yield Put(HEADER.size + 4 * entry, (at // disk.unit).to_bytes(4, "little"))
        yield Barrier()
    if every:
        if disk.misplaced:
            yield Put(DATA_OFF_AT, (disk.least // SECTOR).to_bytes(4, "little"))
            yield Barrier()
        if disk.header.in_use == IN_USE:
            # 0 also says that nobody kept the bitmaps of the Format Extension up to date, which is so.
            yield Put(IN_USE_AT, bytes(4))
            yield Barrier()


def _without_outsiders(source: Source, disk: Disk) -> Iterator[Edit]:
    """Entries that lead outside are 0, in pieces of the BAT."""
    changed = False
    for first in range(0, disk.entries, limits.PIECE):
        last = min(disk.entries, first + limits.PIECE)
        outside = [
            (entry, count)
            for entry, count, where, _, _ in stretches(source, disk, first, last)
            if where == Where.OUTSIDE
        ]
        if not outside:
            continue
        low, high = outside[0][0], sum(outside[-1])
        piece = bytearray(source.read(HEADER.size + 4 * low, 4 * (high - low), pad=True))
        for entry, count in outside:
            piece[4 * (entry - low) : 4 * (entry - low + count)] = bytes(4 * count)
        yield Put(HEADER.size + 4 * low, bytes(piece))
        changed = True
    if changed:
        yield Barrier()


def _copied(source: Source, offset: int, to: int, length: int) -> Iterator[Edit]:
    for at in range(0, length, core_limits.PUT):
        yield Put(to + at, source.read(offset + at, min(core_limits.PUT, length - at), pad=True))
