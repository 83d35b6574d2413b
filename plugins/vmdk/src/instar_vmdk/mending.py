"""What the two copies of grain directory and grain tables ought to say: as check reports it, so repair does it.

The grain directory is the copy that is read. Where it and its tables are possible, they are right; the redundant copy
stands in for what is not, and for what is missing. An entry is possible if its grain lies in the file, is aligned as
others are, and where nothing else is.
"""

from __future__ import annotations

from array import array

from instar_core.types import Kind
from instar_vmdk import limits
from instar_vmdk.grains import grains
from instar_vmdk.layout import SECTOR, ZEROED
from instar_vmdk.occupied import Occupied, entries_used
from instar_vmdk.sparse import header_of
from instar_vmdk.tablepairs import outside, unlike
from instar_vmdk.tablewriter import little

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import NamedTuple

    from instar_core.source import Source
    from instar_vmdk.layout import Sparse
else:
    from instar_core.record import NamedTuple


class Mended(NamedTuple):
    """A table whose copies do not say the same. Nothing can be done about it if neither copy is to be made anew."""

    table: int
    one: int
    """Where it lies by the grain directory, in bytes; 0: nowhere, -1: its grains are zeros."""
    other: int
    """The same by the redundant directory."""
    primary: bool = False
    """Whether what the grain directory says is to be changed."""
    redundant: bool = False
    entry: int = 0
    """What the directories are to say where there is to be no table."""
    data: bytes = b""
    """What the table is to be."""
    beyond: int = 0
    """Entries among those changed whose grain lies past the end of the file."""


class Copies:
    """Both copies of one hosted extent that is not compressed."""

    def __init__(self, source: Source, sparse: Sparse) -> None:
        self._source = source
        self._sparse = sparse
        header = header_of(source)
        length = sparse.entries * 4
        self.lost = not within(source, sparse.directory, length)
        """Whether the grain directory lies outside the file."""
        self.spare_lost = bool(sparse.redundant) and not within(source, sparse.redundant, length)
        self.both = (0 if self.lost else sparse.directory), (0 if self.spare_lost else sparse.redundant)
        text = header.descriptor_offset * SECTOR, header.descriptor_size * SECTOR
        places = [(0, SECTOR), *((place, length) for place in self.both if place)]
        self._fixed = (*places, text) if within(source, *text) and text[1] <= limits.TEXT + 1 else tuple(places)
        self.redundant = sparse.redundant not in (0, sparse.directory)
        """Whether there are two directories."""

    @property
    def alike(self) -> bool:
        """Whether both are there, and say the same."""
        if self.lost or self.spare_lost:
            return False
        return not self.redundant or next(unlike(self._source, self._sparse, *self.both), None) is None

    def mended(self) -> Iterator[Mended]:
        """What is to become of the tables of which the copies differ, ascending.

        Nothing where something would go on leading past the end of the file: what is made anew would lie there.
        """
        closed = self._closed()
        for made in self._judgements():
            yield made if closed else made._replace(primary=False, redundant=False, beyond=0)

    def _closed(self) -> bool:
        """Whether all that leads past the end of the file is mended."""
        source, sparse = self._source, self._sparse
        size = sparse.per_table * 4
        left = sum(count for place in self.both if place for _, count, _ in outside(source, sparse, place))
        for made in self._judgements():
            left -= made.beyond
            left -= made.primary and made.one > 0 and not within(source, made.one, size)
            left -= made.redundant and made.other > 0 and not within(source, made.other, size)
        for _, count, kind, place in grains(source, sparse, 0, 0 if self.lost else -(-sparse.capacity // sparse.grain)):
            if kind == Kind.DATA:
                left += max(0, count - max(0, -(-(source.size - place) // sparse.grain)))
        return not left

    def _judgements(self) -> Iterator[Mended]:
        known = Occupied(self._source, self._sparse, self._fixed, self.both)
        if self.lost and (self.spare_lost or not self._whole(known)):
            return
        for table, count, one, other in unlike(self._source, self._sparse, *self.both):
            size = self._sparse.per_table * 4
            for each in range(count):
                places = (place + each * size if place > 0 else place for place in (one, other))
                made = self._judged(known, table + each, *places)
                yield made._replace(primary=False, redundant=False, beyond=0) if known.full else made

    def _whole(self, known: Occupied) -> bool:
        """Whether the redundant directory can stand in for one that is lost: every table of it is possible."""
        size, some = self._sparse.per_table * 4, False
        for _, count, _, other in unlike(self._source, self._sparse, *self.both):
            if other > 0 and not (known.inside(other, count * size) and not known.shared(other, count * size)):
                return False
            some |= other > 0
        return some

    def _judged(self, known: Occupied, table: int, one: int, other: int) -> Mended:
        size = self._sparse.per_table * 4
        first, second = (
            place > 0 and known.inside(place, size) and not known.shared(place, size) for place in (one, other)
        )
        plain = Mended(table, one, other)
        if first and second:
            return self._merged(known, plain)
        if first:
            return plain._replace(redundant=True, data=self._source.read(one, size, pad=True))
        if one < 0:
            return plain
        if second:
            data = self._source.read(other, size, pad=True)
            made = self._merged(known, plain._replace(one=0)) if data.strip(b"\0") else plain._replace(data=data)
            used = entries_used(self._sparse, table)
            beyond = sum(entry * SECTOR >= known.end for entry in self._entries(one)[:used])
            return plain if made.redundant else plain._replace(primary=True, data=made.data, beyond=beyond)
        if one > 0 and (other > 0 or known.inside(one, size)):
            return plain
        entry = ZEROED if other < 0 else 0
        return plain._replace(primary=one > 0 or other < 0, redundant=other > 0, entry=entry)

    def _merged(self, known: Occupied, plain: Mended) -> Mended:
        """The table, entry by entry. A table that is nowhere has no entries; behind the end of the disk are none."""
        used = entries_used(self._sparse, plain.table)
        one, other = (self._entries(place) for place in (plain.one, plain.other))
        pairs = list(zip(one[:used], other[:used], strict=True))
        unlike = [(number, *pair) for number, pair in enumerate(pairs) if pair[0] != pair[1]]
        impossible = sum(bool(entry) and not self._free(known, entry, copy) for _, entry, copy in unlike)
        # A table with an entry that cannot be is damaged, so others of it may be wrong as well.
        damaged = impossible and all(not copy or self._free(known, copy, entry) for _, entry, copy in unlike)
        # That a grain is missing is believed of a copy that knows others, and held against a table of noise.
        agreed = any(entry == copy > ZEROED for entry, copy in pairs)
        agreed |= 2 * impossible > sum(bool(entry) for _, entry, _ in unlike)
        made = array("I", one[:used])
        made.extend((0,) * (len(one) - used))
        beyond = 0
        for number, entry, copy in unlike:
            right = self._free(known, entry, copy) if entry else not copy
            if copy and (damaged or not right):
                sole = known.sole(copy * SECTOR)
                made[number] = copy if sole and self._free(known, copy, entry) else entry
            elif not copy and not right and (agreed or not self._inside(known, entry)):
                made[number] = 0
            beyond += made[number] != entry and entry * SECTOR >= known.end
        return plain._replace(
            primary=made != array("I", one), redundant=made != array("I", other), data=little(made), beyond=beyond
        )

    def _entries(self, place: int) -> Sequence[int]:
        count = self._sparse.per_table
        return self._source.table(4, place, count, big=False, pad=True) if place > 0 else (0,) * count

    def _free(self, known: Occupied, entry: int, copy: int) -> bool:
        """Whether the entry leads where a grain can be. Where nothing is certain, its copy tells if it is aligned."""
        if entry == ZEROED and self._sparse.zeroed:
            return True
        place, grain = entry * SECTOR, self._sparse.grain
        if place % grain and (known.aligned or (copy and not copy * SECTOR % grain)):
            return False
        return self._inside(known, entry) and known.free(place, grain)

    def _inside(self, known: Occupied, entry: int) -> bool:
        return max(SECTOR, self._sparse.overhead) <= entry * SECTOR < known.end


def within(source: Source, place: int, length: int) -> bool:
    """Whether the stretch lies in the file, behind its first sector."""
    return place >= SECTOR and place + length <= -(-source.size // SECTOR) * SECTOR
