"""Checking the structure of a Parallels image: what qemu-img finds, in its words.

Other than for qemu-img, the Format Extension and the clusters of its bitmaps are in use.
"""

from __future__ import annotations

from instar_core.taken import Taken
from instar_core.types import Finding, Severity, Tally
from instar_parallels import limits
from instar_parallels.clusters import Where, stretches
from instar_parallels.layout import DATA_OFF_AT, HEADER, IN_USE, IN_USE_AT
from instar_parallels.opening import open_disk

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from instar_core.source import Image, Source
    from instar_parallels.opening import Disk

BAT = HEADER.size


def findings(image: Image) -> Iterator[Finding | Tally]:
    """Every finding, in qemu's order, then the Tally."""
    disk = open_disk(image.main)
    mode = image.options.get("repair")
    word = "Repairing" if mode == "all" else "ERROR"
    if disk.header.in_use == IN_USE:
        yield _corrupt(f"{word} image was not closed correctly", IN_USE_AT)
    if disk.misplaced:
        yield _corrupt(f"{word} data_off field has incorrect value", DATA_OFF_AT)
    counts = _Counts(disk)
    for entry, count, where, offset, step in stretches(image.main, disk, 0, disk.entries):
        counts.add(count, where, offset, step)
        if where == Where.OUTSIDE:
            for number in range(entry, entry + count):
                yield _corrupt(f"{word} cluster {number} is outside image", BAT + 4 * number)
    if disk.end > counts.end:
        leaked = disk.end - counts.end
        yield Finding(
            Severity.LEAK,
            f"{'Repairing' if mode else 'ERROR'} space leaked at the end of the image {leaked}",
            offset=counts.end,
            count=-(-leaked // disk.cluster),
            repairable=True,
        )
    left = copies(disk, counts.end)
    for entry, _ in duplicates(image.main, disk):
        text = f"{word if left else 'ERROR'} duplicate offset in BAT entry {entry}"
        yield _corrupt(text, BAT + 4 * entry, repairable=left > 0)
        left -= left > 0
    if counts.crooked:
        yield Finding(
            Severity.NOTE, f"{counts.crooked} clusters do not lie on a multiple of their size", count=counts.crooked
        )
    for place in _reserved(disk):
        if not disk.data <= place <= disk.end - disk.cluster:
            at = place if place < limits.REACH else disk.extension
            yield Finding(Severity.NOTE, f"A cluster of a bitmap at {place} is outside image", offset=at)
    yield Tally(total=disk.entries, allocated=counts.allocated, fragmented=counts.fragmented, end=counts.end)


def _corrupt(text: str, offset: int, *, repairable: bool = True) -> Finding:
    return Finding(Severity.CORRUPTION, text, offset=offset, repairable=repairable)


class _Counts:
    """What stretches add up to. `end` is where the last cluster in use ends, or the data area begins."""

    __slots__ = ("_disk", "_next", "allocated", "crooked", "end", "fragmented")

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self._next = 0
        self.allocated = self.fragmented = self.crooked = 0
        self.end = disk.data
        for place in _reserved(disk):
            if disk.data <= place <= disk.end - disk.cluster:
                self.end = max(self.end, place + disk.cluster)

    def add(self, count: int, where: int, offset: int, step: int) -> None:
        """The next stretch, in order."""
        if where != Where.INSIDE:
            self._next = 0
            return
        self.allocated += count
        self.fragmented += (self._next not in (0, offset)) + (0 if step else count - 1)
        self._next = offset + (count - 1) * step + self._disk.cluster
        self.end = max(self.end, self._next)
        if (offset - self._disk.data) % self._disk.cluster:
            self.crooked += count


def image_end(source: Source, disk: Disk) -> int:
    """Where the last cluster in use ends, in bytes; where the data area begins if there is none."""
    counts = _Counts(disk)
    for _, count, where, offset, step in stretches(source, disk, 0, disk.entries):
        counts.add(count, where, offset, step)
    return counts.end


def copies(disk: Disk, end: int) -> int:
    """How many clusters one repair may copy to places from `end` on."""
    room = limits.FACTOR - 1 - -(-(end + disk.cluster) // disk.unit)
    return max(0, min(limits.COPIES, (disk.end + limits.COPIED) // disk.cluster, room * disk.unit // disk.cluster))


def duplicates(source: Source, disk: Disk) -> Iterator[tuple[int, int]]:
    """BAT entries, ascending, whose cluster something before them has already, with its offset."""
    taken = Taken()
    for place in _reserved(disk):
        if disk.data <= place <= disk.end - disk.cluster:
            for _ in taken.take((place - disk.data) // disk.cluster, 1):
                pass
    for entry, count, where, offset, step in stretches(source, disk, 0, disk.entries):
        if where != Where.INSIDE:
            continue
        index = (offset - disk.data) // disk.cluster
        if step:
            for number in taken.take(index, count):
                yield entry + number - index, offset + (number - index) * step
        else:
            for _ in taken.take(index, 1):
                yield entry, offset
            for number in range(1, count):
                yield entry + number, offset


def _reserved(disk: Disk) -> Iterator[int]:
    """The clusters that no BAT entry names: the Format Extension and what its bitmaps lie in."""
    if disk.extension:
        yield disk.extension
    for stored in disk.bitmaps:
        yield from stored.places
