"""A walk over all references of an image: what check tells and repair mends.

Source: docs/interop/qed_spec.rst of QEMU, "Consistency checking".
"""

from __future__ import annotations

from instar_core.errors import ErrorKind, FormatError
from instar_core.tally import ReferenceTally
from instar_qed import layout, limits
from instar_qed.tables import table_runs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import NamedTuple

    from instar_core.source import Source
    from instar_qed.header import Header
else:
    from instar_core.record import NamedTuple


class Misplaced(NamedTuple):
    """Entries that name no place in the file: `entries` of them at `offset`. `table` says that they are of the L1."""

    offset: int
    entries: int
    first: int
    table: bool


class Shared(NamedTuple):
    """Clusters that are referenced too often: `clusters` of them from number `first` on, `times` times too often, by
    entries from `offset` on."""

    offset: int
    clusters: int
    first: int
    times: int = 1


class Walk:
    """Every cluster is noted that the tables refer to.

    Once the walk is over, `allocated` and `fragmented` are the counts of data clusters as qemu has them: every entry
    counts that names a place, also a wrong one.
    """

    __slots__ = ("_header", "_source", "_tally", "allocated", "fragmented")

    def __init__(self, source: Source, header: Header) -> None:
        self._source = source
        self._header = header
        self._tally = ReferenceTally(1)
        self.allocated = 0
        self.fragmented = 0

    def faults(self) -> Iterator[Misplaced | Shared]:
        """What is wrong with the references. Raises FormatError (LIMIT) for a file too large to be checked.

        A table of which a cluster is in use already is not followed.
        """
        header = self._header
        if header.file_size // header.cluster_size > limits.CLUSTERS:
            raise FormatError("File too large", kind=ErrorKind.LIMIT)
        l1 = header.l1_table_offset
        self._tally.add(l1 // header.cluster_size, header.table_size)
        for index, count, entry, step in table_runs(self._source, l1, 0, header.entries, header.table_bytes):
            if entry == layout.UNALLOCATED:
                continue
            for number in range(count):
                table = entry + step * number
                where = l1 + layout.ENTRY * (index + number)
                if not header.table_fits(table):
                    yield Misplaced(where, 1, table, True)
                    continue
                shared = self._tally.add(table // header.cluster_size, header.table_size)
                if shared:
                    yield from _stretches(where, shared)
                else:
                    yield from self._table(table)

    def _table(self, table: int) -> Iterator[Misplaced | Shared]:
        header, size = self._header, self._header.cluster_size
        behind = 0
        for index, count, entry, step in table_runs(self._source, table, 0, header.entries, size):
            if entry <= layout.ZERO:
                continue
            where = table + layout.ENTRY * index
            self.allocated += count
            if behind and entry != behind:
                self.fragmented += 1
            if not step:
                self.fragmented += count - 1
            behind = entry + step * (count - 1) + size
            low, high = _inside(header, count, entry, step)
            if low:
                yield Misplaced(where, low, entry, False)
            if high > low and not step:
                again = count - 1 + len(self._tally.add(entry // size))
                if again:
                    yield Shared(where, 1, entry // size, again)
            elif high > low:
                first = entry // size + low
                yield from _stretches(where + layout.ENTRY * low, self._tally.add(first, high - low))
            if high < count:
                yield Misplaced(where + layout.ENTRY * high, count - high, entry + step * high, False)

    def leaks(self) -> Iterator[tuple[int, int]]:
        """(first cluster, count) of the regular clusters that nothing refers to, as long as they can be."""
        header = self._header
        at, end = header.header_size, header.file_size // header.cluster_size
        for first, count in self._tally.referenced(at, max(0, end - at)):
            counts = self._tally.narrow(first, count)
            used = counts.find(1)
            while used >= 0:
                if first + used > at:
                    yield at, first + used - at
                unused = counts.find(0, used)
                at = first + (unused if unused >= 0 else count)
                used = counts.find(1, unused) if unused >= 0 else -1
        if end > at:
            yield at, end - at


def _inside(header: Header, count: int, entry: int, step: int) -> tuple[int, int]:
    """Which entries of a run name regular clusters of the file: from the first number up to the second."""
    size = header.cluster_size
    if entry % size:
        return count, count
    if not step:
        return (0, count) if header.cluster_fits(entry) else (count, count)
    low = min(count, max(0, (header.first_byte - entry) // size))
    high = min(count, max(low, (header.file_size - entry) // size))
    return low, high


def _stretches(where: int, shared: list[int]) -> Iterator[Shared]:
    """Clusters that ascend, as stretches without gaps."""
    start = 0
    for number in range(1, len(shared) + 1):
        if number == len(shared) or shared[number] != shared[number - 1] + 1:
            yield Shared(where, number - start, shared[start])
            start = number
