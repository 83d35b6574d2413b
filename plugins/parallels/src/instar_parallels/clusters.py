"""The block allocation table: which cluster of the file holds which cluster of the disk."""

from __future__ import annotations

from instar_parallels.layout import HEADER
from instar_parallels.limits import PIECE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from instar_core.source import Source
    from instar_parallels.opening import Disk


class Where:
    """What a BAT entry says."""

    NOWHERE = 0
    """The cluster is not allocated."""
    INSIDE = 1
    """It lies in the data area as a whole."""
    OUTSIDE = 2
    """It would lie before the data area, or not as a whole in the file. It reads as one that is not allocated."""


def stretches(source: Source, disk: Disk, first: int, last: int) -> Iterator[tuple[int, int, int, int, int]]:
    """BAT entries [first, last) in order as (entry, count, where, offset, step), in bytes.

    The n-th of them lies at the offset plus n times the step, which is the size of a cluster or 0. What the file is
    too short to hold of the BAT is 0.
    """
    there = min(last, -(-max(0, source.size - HEADER.size) // 4))
    for at in range(first, there, PIECE):
        count = min(PIECE, there - at)
        runs = source.runs(HEADER.size + 4 * at, count, 4, disk.cluster // disk.unit, big=False, pad=True)
        for start, length, value, step in runs:
            yield from _sorted(disk, at + start, length, value * disk.unit, step * disk.unit)
    if max(first, there) < last:
        at = max(first, there)
        yield at, last - at, Where.NOWHERE, 0, 0


def _sorted(disk: Disk, entry: int, count: int, offset: int, step: int) -> Iterator[tuple[int, int, int, int, int]]:
    """A run of entries, divided where it enters and where it leaves what the file holds."""
    highest = disk.end - disk.cluster
    if not step:
        if not offset:
            yield entry, count, Where.NOWHERE, 0, 0
        else:
            where = Where.INSIDE if disk.data <= offset <= highest else Where.OUTSIDE
            yield entry, count, where, offset, 0
        return
    if not offset:
        yield entry, 1, Where.NOWHERE, 0, 0
        entry, count, offset = entry + 1, count - 1, offset + step
    before = min(count, max(0, -(-(disk.data - offset) // step)))
    inside = max(0, min(count - before, (highest - offset - before * step) // step + 1))
    for length, where in ((before, Where.OUTSIDE), (inside, Where.INSIDE), (count - before - inside, Where.OUTSIDE)):
        if length:
            yield entry, length, where, offset, step
            entry, offset = entry + length, offset + length * step
