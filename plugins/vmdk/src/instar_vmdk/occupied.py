"""What of an extent's file is in use for certain, so that a doubtful entry can be held against it."""

from __future__ import annotations

from bisect import bisect_right

from instar_core.ranges import Ranges
from instar_core.types import Kind
from instar_vmdk import limits
from instar_vmdk.grains import piece
from instar_vmdk.layout import SECTOR
from instar_vmdk.tablepairs import pairs, same

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from instar_core.source import Source
    from instar_vmdk.layout import Sparse


class Occupied:
    """Stretches of one file, in bytes: header, descriptor, directories, tables, and grains that nothing contradicts.

    `full` where there are too many to be kept: then nothing is known.
    """

    __slots__ = ("_aligned", "_askew", "_doubtful", "_ends", "_named", "_shared", "_starts", "end", "full")

    def __init__(
        self, source: Source, sparse: Sparse, fixed: tuple[tuple[int, int], ...], both: tuple[int, int]
    ) -> None:
        """`fixed` are the stretches (start, length) in front; `both` the directories, 0 for one that is lost."""
        self.end = -(-source.size // SECTOR) * SECTOR
        self._named: dict[int, int] = {}
        self._doubtful: set[int] = set()
        self._aligned = self._askew = False
        size = sparse.per_table * sparse.width
        every, kept = Ranges(limits.CHECK_RUNS), Ranges(limits.CHECK_RUNS)
        for start, length in fixed:
            every.add(start, length)
            kept.add(start, length)
        for _, count, *places in pairs(source, sparse, *both):
            for place in dict.fromkeys(places):
                inside = min(count, max(0, self.end - place) // size)
                if place > 0 and inside:
                    every.add(place, inside * size)
        shared = [(start, min(start + length, reach)) for start, length, reach in every.sorted() if start < reach]
        self._shared = [start for start, _ in shared], [end for _, end in shared]
        for first, length in self._agreed(source, sparse, both):
            kept.add(first, length)
        self._starts: list[int] = []
        self._ends: list[int] = []
        for start, length, reach in kept.sorted():
            if self._ends and start <= reach:
                self._ends[-1] = max(reach, start + length)
            else:
                self._starts.append(start)
                self._ends.append(start + length)
        self.full = kept.full or every.full or len(self._named) > limits.CHECK_RUNS

    def inside(self, place: int, length: int) -> bool:
        """Whether the stretch lies in the file, behind its first sector."""
        return place >= SECTOR and place + length <= self.end

    def shared(self, place: int, length: int) -> bool:
        """Whether two structures of the metadata lie over one another here."""
        return _meets(*self._shared, place, length)

    def free(self, place: int, length: int) -> bool:
        """Whether nothing that is certain is there."""
        return not _meets(self._starts, self._ends, place, length)

    @property
    def aligned(self) -> bool:
        """Whether there are grains that are certain, and all of them are aligned."""
        return self._aligned and not self._askew

    def sole(self, place: int) -> bool:
        """Whether at most one grain is said to be here, by tables that contradict their copies."""
        return place not in self._doubtful

    def _agreed(self, source: Source, sparse: Sparse, both: tuple[int, int]) -> Iterator[tuple[int, int]]:
        """Tables that have no copy, or a copy that says the same; of others what both copies name. Grains of such
        tables, too, unless only the redundant one is there: each of these is looked at."""
        size, per = sparse.per_table * sparse.width, sparse.per_table
        for table, count, one, other in pairs(source, sparse, *both):
            for each in range(count if one > 0 or other > 0 else 0):
                places = dict.fromkeys(place + each * size for place in (one, other) if place > 0)
                here = [place for place in places if self.inside(place, size)]
                if len(here) > 1 and not same(source, here[0], here[1], size):
                    yield from self._entries(source, sparse, table + each, here[0], here[1])
                    continue
                for place in here:
                    yield place, size
                if here and here[0] != one + each * size:
                    yield from self._entries(source, sparse, table + each, 0, here[0])
                    continue
                if not here:
                    continue
                used = entries_used(sparse, table + each)
                for _, many, kind, place in piece(source, sparse, (table + each) * per, used, here[0]):
                    if kind == Kind.DATA and place < self.end:
                        yield self._certain(place, many * sparse.grain, sparse.grain)

    def _entries(self, source: Source, sparse: Sparse, table: int, one: int, other: int) -> Iterator[tuple[int, int]]:
        """Grains of which two tables say the same. Of the others it is noted which are claimed to lie where."""
        per = sparse.per_table
        used = entries_used(sparse, table)
        if not one and not source.read(other, used * 4, pad=True).strip(b"\0"):
            return
        both = [source.table(4, place, used, big=False, pad=True) if place else (0,) * used for place in (one, other)]
        for number, (entry, again) in enumerate(zip(*both, strict=True), table * per):
            if entry == again > 1 and entry * SECTOR < self.end:
                yield self._certain(entry * SECTOR, sparse.grain, sparse.grain)
            elif entry != again:
                for each in {entry, again}:
                    if not SECTOR < each * SECTOR < self.end:
                        continue
                    if len(self._named) > limits.CHECK_RUNS:
                        return
                    if self._named.setdefault(each * SECTOR, number) != number:
                        self._doubtful.add(each * SECTOR)

    def _certain(self, place: int, length: int, grain: int) -> tuple[int, int]:
        self._askew |= bool(place % grain)
        self._aligned = True
        return place, length


def entries_used(sparse: Sparse, table: int) -> int:
    """How many entries of the table are of grains of the disk."""
    return min(sparse.per_table, -(-sparse.capacity // sparse.grain) - table * sparse.per_table)


def _meets(starts: list[int], ends: list[int], place: int, length: int) -> bool:
    at = bisect_right(starts, place + length - 1)
    return bool(at) and ends[at - 1] > place
