"""Changing the grain tables of a hosted sparse extent that is there. Grains are counted; places are bytes unless they
are called sectors.

Entries are gathered until the content that they stand for is on stable storage; then their tables get them, and when
these are safe the redundant ones: a repair takes for lost what only the redundant copy says. A table that does not
exist yet is put before its directory says where it is.
"""

from __future__ import annotations

from array import array

from instar_core.types import Barrier, Put, Truncate
from instar_vmdk import limits
from instar_vmdk.grains import grains
from instar_vmdk.layout import HOSTED, SECTOR, ZEROED, HostedHeader, Sparse
from instar_vmdk.tablewriter import addressed, little

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from instar_core.source import Source
    from instar_core.types import Edit


def used_end(source: Source, sparse: Sparse, count: int) -> int:
    """Where the last of the first `count` grains, of the tables, or the descriptor ends, or the metadata in front."""
    header = HostedHeader._make(source.unpack(HOSTED, 0))
    end = sparse.overhead
    if 0 < header.descriptor_offset * SECTOR < source.size and header.descriptor_size * SECTOR <= limits.TEXT + 1:
        # A change that was cut short may have left it behind all else.
        end = max(end, (header.descriptor_offset + header.descriptor_size) * SECTOR)
    size = -(-sparse.per_table * 4 // SECTOR) * SECTOR
    for directory in directories(sparse):
        end = max(end, directory + sparse.entries * 4)
        for at in range(0, sparse.entries, limits.DIRECTORY_PIECE):
            piece = min(limits.DIRECTORY_PIECE, sparse.entries - at)
            entries = source.table(4, directory + at * 4, piece, big=False, pad=True)
            end = max(end, max(entries) * SECTOR + size)
    for _, many, kind, offset in grains(source, sparse, 0, count):
        if not kind:
            end = max(end, offset + many * sparse.grain)
    return end


def directories(sparse: Sparse) -> tuple[int, ...]:
    """Where the grain directories are, the one that counts last."""
    return (sparse.redundant, sparse.directory) if sparse.redundant else (sparse.directory,)


class Entries:
    """Entries on their way into the tables of one extent; `end` is where the file is free, and zeros."""

    __slots__ = ("_changed", "_count", "_device", "_fresh", "_source", "_sparse", "end")

    def __init__(self, source: Source, sparse: Sparse, device: int, end: int) -> None:
        self._source = source
        self._sparse = sparse
        self._device = device
        self.end = end
        self._changed: list[tuple[int, int, int, int]] = []
        self._count = 0
        self._fresh: dict[tuple[int, int], int] = {}

    def record(self, grain: int, count: int, sector: int, step: int) -> Iterator[Edit]:
        """Grains `grain` on, which lie after all before, are at `sector` on, each `step` sectors after the last."""
        addressed(sector + step * (count - 1))
        per = self._sparse.per_table
        while count:
            some = min(count, per - grain % per)
            self._changed.append((grain, some, sector, step))
            self._count += some
            grain, count, sector = grain + some, count - some, sector + some * step
            if self._count >= limits.WINDOW:
                yield from self.flush()

    def flush(self) -> Iterator[Edit]:
        """Content first, then what says that it is there, then the redundant copy of that."""
        changed, self._changed, self._count = self._changed, [], 0
        size = self._source.size
        phases: tuple[list[Put], ...] = [], [], []
        made: set[tuple[int, int]] = set()
        for grain, count, sector, step in changed:
            table, index = divmod(grain, self._sparse.per_table)
            data = little(array("I", range(sector, sector + step * count, step) if step else [sector] * count))
            for late, directory in enumerate(reversed(directories(self._sparse))):
                key = directory, table
                place = self._known(*key)
                if not place:
                    place = self._made(directory, table, phases[0], phases[1 + late])
                    made.add(key)
                phases[0 if key in made else late].append(Put(place + index * 4, data, self._device))
        if self.end > size:
            yield Truncate(self.end, self._device)
        yield Barrier()
        for edits in phases:
            if edits:
                yield from edits
                yield Barrier()

    def _known(self, directory: int, table: int) -> int:
        """Where the table is that this directory names, 0 where there is none."""
        known = self._fresh.get((directory, table))
        return known if known is not None else self._entry(directory, table)[0]

    def _entry(self, directory: int, table: int) -> tuple[int, bool]:
        (entry,) = self._source.table(4, directory + table * 4, 1, big=False, pad=True)
        zeroed = entry == ZEROED and self._sparse.zeroed
        return 0 if zeroed else entry * SECTOR, zeroed

    def _made(self, directory: int, table: int, first: list[Put], then: list[Put]) -> int:
        """Where a new table lies, which `first` makes and `then` names in the directory."""
        per = self._sparse.per_table
        place = self.end
        self.end += -(-per * 4 // SECTOR) * SECTOR
        empty = ZEROED if self._entry(directory, table)[1] else 0
        first.append(Put(place, little(array("I", [empty]) * per), self._device))
        then.append(Put(directory + table * 4, little(array("I", [addressed(place // SECTOR)])), self._device))
        self._fresh[directory, table] = place
        return place


def cleared(source: Source, sparse: Sparse, device: int, first: int, end: int) -> Iterator[Edit]:
    """Grains `first` to `end` (exclusive) have no entries in any table; what is so already is left.

    The redundant copy goes first: what it alone says would be taken for what is right.
    """
    per = sparse.per_table
    for directory in directories(sparse):
        if directory == sparse.directory and sparse.redundant:
            yield Barrier()
        for table in range(first // per, -(-end // per)):
            (entry,) = source.table(4, directory + table * 4, 1, big=False, pad=True)
            if not entry or (entry == ZEROED and sparse.zeroed):
                if entry:
                    yield Put(directory + table * 4, bytes(4), device)
                continue
            low, high = max(first, table * per) - table * per, min(end, (table + 1) * per) - table * per
            if source.read(entry * SECTOR + low * 4, (high - low) * 4, pad=True).strip(b"\0"):
                yield Put(entry * SECTOR + low * 4, bytes((high - low) * 4), device)
