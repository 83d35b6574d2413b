"""Clusters and tables added to an image that is there, so that a stop at any point leaves at most leaked clusters.

New things lie past the end of the file. Only once they are on stable storage do entries lead to them.
"""

from __future__ import annotations

from array import array

from instar_core import limits as core_limits
from instar_core.types import NOWHERE, Barrier, Kind, Put, Truncate
from instar_qcow import limits
from instar_qcow.tables import clusters, tables
from instar_qcow.tablewriter import big

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from instar_core.source import Source
    from instar_core.types import Edit
    from instar_qcow.tables import Clusters
    from instar_qcow.writable import Writable

    Entries = tuple[int, int, int, int]
    """Offset in the file of the first entry, how many, its value, step."""

ENTRIES = core_limits.PUT // 8


class Growing:
    """The image's tables as they are to be. Places on the disk are given in ascending order, each once.

    `end` is the offset of the first byte that nothing has, `l1` that of the L1 table that is to lead to new tables.
    What waits to be committed is bounded: `full` says when it has to be.
    """

    __slots__ = ("_fresh", "_grown", "_header", "_linked", "_links", "_new", "_old", "_source", "_table", "end", "l1")

    def __init__(self, source: Source, opened: Writable) -> None:
        self._source = source
        self._header = opened.header
        self.end = self._grown = opened.end
        self.l1 = opened.header.l1_table_offset
        self._old: list[Entries] = []
        self._new: list[Entries] = []
        self._links: list[tuple[int, int]] = []
        self._table = -1
        self._fresh = 0
        self._linked = True

    @property
    def full(self) -> bool:
        """Whether it is time to commit: what a stop loses, and what it leaks, stays small."""
        waiting = len(self._old) + len(self._new)
        return waiting >= limits.WAITING or self.end - self._grown >= limits.UNCOMMITTED

    def pieces(self, first: int, count: int) -> Iterator[Clusters]:
        """The state of clusters from number `first` on, as tables.clusters tells it; nothing else comes between."""
        last = first + count
        if first >> self._header.l2_bits == self._table:
            some = min(last, self._table + 1 << self._header.l2_bits) - first
            yield first, some, Kind.ABSENT, NOWHERE, 0
            first += some
        if first < last:
            yield from clusters(self._source, self._header, first, last)

    def set(self, cluster: int, count: int, entry: int, step: int) -> None:
        """The entries of the clusters are to be entry, entry + step, …; a table that is missing is made."""
        bits = self._header.l2_bits
        while count:
            table, index = cluster >> bits, cluster & (1 << bits) - 1
            some = min((1 << bits) - index, count)
            offset = self._fresh if table == self._table else self._place(table)
            if not offset:
                offset = self._make(table)
            kept = self._new if table == self._table and not self._linked else self._old
            where = offset + 8 * index
            before, length, value, by = kept[-1] if kept else (0, 0, 0, 0)
            if length and where == before + 8 * length and by == step and entry == value + by * length:
                kept[-1] = before, length + some, value, by
            else:
                kept.append((where, some, entry, step))
            cluster, count, entry = cluster + some, count - some, entry + step * some

    def allocate(self, length: int, *, aligned: bool = True) -> int:
        """The offset of so many bytes that nothing has, on a multiple of the cluster unless it need not be."""
        size = self._header.cluster_size
        offset = -(-self.end // size) * size if aligned else self.end
        self.end = offset + length
        return offset

    def commit(self) -> Iterator[Edit]:
        """All that was set holds once what follows, a Barrier say, is on stable storage."""
        if self.end > self._grown:
            yield Truncate(self.end)
            self._grown = self.end
        yield from _puts(self._new)
        yield Barrier()
        yield from _puts(self._old)
        for table, offset in self._links:
            yield Put(self.l1 + 8 * table, offset.to_bytes(8, "big"))
        self._links = []
        self._linked = True

    def _place(self, table: int) -> int:
        if table >= self._header.l1_size:
            return 0
        ((_, _, offset),) = tables(self._source, self._header, table, table + 1)
        return offset

    def _make(self, table: int) -> int:
        self._table, self._fresh, self._linked = table, self.allocate(self._header.l2_bytes), False
        self._links.append((table, self._fresh))
        return self._fresh


def _puts(kept: list[Entries]) -> Iterator[Put]:
    for where, count, entry, step in kept:
        for at in range(0, count, ENTRIES):
            some, first = min(ENTRIES, count - at), entry + step * at
            values = array("Q", range(first, first + step * some, step)) if step else array("Q", [first]) * some
            yield Put(where + 8 * at, big(values))
    kept.clear()
