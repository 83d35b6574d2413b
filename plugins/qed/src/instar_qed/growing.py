"""Clusters and tables added to an image that is there, so that a stop at any point leaves at most leaked clusters.

New things lie past the end of the file. Only once they are on stable storage do entries lead to them.
Source: docs/interop/qed_spec.rst of QEMU, "Tables".
"""

from __future__ import annotations

from array import array
from sys import byteorder

from instar_core import limits as core_limits
from instar_core.types import Barrier, Put, Truncate, Zero
from instar_qed import layout, limits
from instar_qed.tables import table_runs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from instar_core.source import Source
    from instar_core.types import Edit
    from instar_qed.header import Header

    Entries = tuple[int, int, int, int]
    """Offset in the file of the first entry, how many, its value, step."""

ENTRIES = core_limits.PUT // layout.ENTRY


class Growing:
    """The image's tables as they are to be. Places on the disk are given in ascending order, each once.

    `end` is the offset of the first cluster that nothing has. What waits to be committed is bounded: `full` says when
    it has to be.
    """

    __slots__ = ("_fresh", "_grown", "_header", "_linked", "_links", "_new", "_old", "_source", "_table", "end")

    def __init__(self, source: Source, header: Header) -> None:
        self._source = source
        self._header = header
        self.end = header.file_size
        self._grown = self.end
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

    def pieces(self, first: int, count: int) -> Iterator[tuple[int, int, int, int]]:
        """Clusters from number `first` on as (cluster, count, entry, step), as table_runs tells entries.

        Where no table maps them the entry is -1.
        """
        header, last = self._header, first + count
        while first < last:
            table, index = divmod(first, header.entries)
            some = min(header.entries - index, last - first)
            if table == self._table:
                yield first, some, layout.UNALLOCATED, 0
                first += some
                continue
            offset = self._place(table)
            if not offset:
                yield first, some, -1, 0
            else:
                for at, length, entry, step in table_runs(
                    self._source, offset, index, index + some, header.cluster_size
                ):
                    yield first + at - index, length, entry, step
            first += some

    def set(self, cluster: int, count: int, entry: int, step: int) -> Iterator[Edit]:
        """The entries of the clusters are to be entry, entry + step, …; a table that is missing is made."""
        header = self._header
        while count:
            table, index = divmod(cluster, header.entries)
            some = min(header.entries - index, count)
            yield from self.mapped(cluster)
            fresh = table == self._table
            offset = self._fresh if fresh else self._place(table)
            kept = self._new if fresh and not self._linked else self._old
            where = offset + layout.ENTRY * index
            if kept:
                before, length, value, by = kept[-1]
                follows = where == before + layout.ENTRY * length and by == step and entry == value + by * length
                if follows:
                    kept[-1] = before, length + some, value, by
                else:
                    kept.append((where, some, entry, step))
            else:
                kept.append((where, some, entry, step))
            cluster, count, entry = cluster + some, count - some, entry + step * some

    def mapped(self, cluster: int) -> Iterator[Edit]:
        """There is a table for the cluster's entry, which then lies in front of what it leads to."""
        table = cluster // self._header.entries
        if table != self._table and not self._place(table):
            yield from self._make(table)

    def allocate(self, clusters: int) -> int:
        """The offset of so many clusters that nothing has."""
        offset = self.end
        self.end += clusters * self._header.cluster_size
        return offset

    def commit(self) -> Iterator[Edit]:
        """All that was set holds once what follows, a Barrier say, is on stable storage."""
        if self.end > self._grown:
            yield Truncate(self.end)
            self._grown = self.end
        yield from self._puts(self._new)
        yield Barrier()
        yield from self._puts(self._old)
        for table, offset in self._links:
            where = self._header.l1_table_offset + layout.ENTRY * table
            yield Put(where, offset.to_bytes(layout.ENTRY, "little"))
        self._links = []
        self._linked = True

    def _place(self, table: int) -> int:
        where = self._header.l1_table_offset + layout.ENTRY * table
        (place,) = self._source.table(layout.ENTRY, where, 1, big=False, pad=True)
        return place

    def _make(self, table: int) -> Iterator[Edit]:
        size = self._header.table_bytes
        self._table, self._fresh, self._linked = table, self.end, False
        self.end += size
        self._links.append((table, self._fresh))
        if self._fresh < self._source.size:
            # What follows the last whole cluster of a file is not part of it, and anything.
            yield Zero(self._fresh, size)

    def _puts(self, kept: list[Entries]) -> Iterator[Put]:
        for where, count, entry, step in kept:
            for at in range(0, count, ENTRIES):
                some, first = min(ENTRIES, count - at), entry + step * at
                values = array("Q", range(first, first + step * some, step) if step else [first]) * (
                    1 if step else some
                )
                yield Put(where + layout.ENTRY * at, little(values))
        kept.clear()


def little(entries: array[int]) -> bytes:
    """Entries as a file has them."""
    if byteorder == "big":
        entries = entries[:]
        entries.byteswap()
    return entries.tobytes()
