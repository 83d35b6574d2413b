"""What the active tables say of the disk from some place on: dropped, and said anew.

One L2 table, that of the place itself, is changed; those behind it go, and new ones may come. Of the changed table only
entries behind the place differ, so that it can be written where it lies while these are out of sight.
Source: docs/interop/qcow2.txt of QEMU, "Cluster mapping".
"""

from __future__ import annotations

from array import array

from instar_core.errors import ErrorKind, FormatError
from instar_core.types import Put
from instar_qcow2 import layout, limits
from instar_qcow2.differing import differing
from instar_qcow2.level2 import read_l1, refer
from instar_qcow2.shadow import big_endian, put_pieces
from instar_qcow2.sizes import ceil_div
from instar_qcow2.tables import ALLOCATED, run_bytes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import NamedTuple

    from instar_core.source import Source
    from instar_qcow2.header import Header
    from instar_qcow2.hostclusters import HostClusters
else:
    from instar_core.record import NamedTuple


class Filling(NamedTuple):
    """The entries of clusters that are new: entry, entry + step, … by the cluster's number on the disk, `bitmap` with
    extended L2 entries."""

    entry: int
    step: int = 0
    bitmap: int = 0


class Edge:
    """The active tables from the cluster `start` on, as they will be. Everything is decided by the methods drop, move,
    fill and settle, in this order; then the edits may be asked for.

    `table` is the L2 table that holds `start`, `at` the index of its entry there.
    """

    __slots__ = ("_clusters", "_fresh", "_header", "_index", "_new", "_old", "_old_l1", "_place", "_source", "at",
                 "l1_offset", "l1_size", "table", "words")  # fmt: skip

    def __init__(self, source: Source, header: Header, clusters: HostClusters, start: int) -> None:
        self._source, self._header, self._clusters = source, header, clusters
        self._index, self.at = divmod(start, header.l2_entries)
        self.l1_offset, self.l1_size = header.l1_table_offset, header.l1_size
        tables = read_l1(source, header, header.l1_table_offset, header.l1_size)
        self._old_l1 = array("Q", source.table(8, header.l1_table_offset, header.l1_size, pad=True))
        self.words = array("Q", self._old_l1)
        self._place = tables[self._index] if self._index < len(tables) else 0
        self._old = self._read(self._place) if self._place else bytes(header.cluster_size)
        self.table = bytearray(self._old)
        self._new = False
        self._fresh: list[tuple[int, int, int, int, Filling]] = []

    def drop(self, first: int) -> None:
        """Nothing from the cluster `first` on (`start` or the next) is referred to any more."""
        header, width = self._header, self._header.l2_entry_size
        from_here = first - self._index * header.l2_entries
        if from_here < header.l2_entries:
            behind = bytes(width * from_here) + self.table[width * from_here :]
            self._unrefer(behind)
            self.table[width * from_here :] = bytes(len(behind) - width * from_here)
        if self._place and not from_here:
            self._clusters.refer(self._place >> header.cluster_bits, 1, -1)
            self.words[self._index], self._place, self._old = 0, 0, bytes(header.cluster_size)
        for index in range(self._index + 1, len(self.words)):
            table = self.words[index] & layout.OFFSET_MASK
            if table:
                self._unrefer(self._read(table))
                self._clusters.refer(table >> header.cluster_bits, 1, -1)
            self.words[index] = 0

    def move(self, tables: int) -> None:
        """The L1 table has so many entries, at a new place where its cluster has no room. Raises FormatError."""
        header, clusters = self._header, self._clusters
        if tables <= self.l1_size:
            return
        if 8 * tables > limits.L1_TABLE:
            raise FormatError("Failed to grow the L1 table: File too large", kind=ErrorKind.LIMIT)
        more = bytes(8 * (tables - self.l1_size))
        self.words.frombytes(more)
        if self._has_room(len(more)):
            self._old_l1.frombytes(more)
        else:
            self.l1_offset = clusters.take(ceil_div(8 * tables, header.cluster_size))
            clusters.refer_bytes(header.l1_table_offset, 8 * self.l1_size, -1)
        self.l1_size = tables

    def _has_room(self, more: int) -> bool:
        """Whether so many bytes behind the L1 table are in its last cluster, which is its alone, and zeros."""
        end = self._header.l1_table_offset + 8 * self.l1_size
        return more <= -end % self._header.cluster_size and not any(self._source.read(end, more, pad=True))

    def fill(self, first: int, end: int, filling: Filling) -> None:
        """The clusters from `first` to before `end` have these entries."""
        header = self._header
        while first < end:
            index, at = divmod(first, header.l2_entries)
            count = min(end - first, header.l2_entries - at)
            if index == self._index:
                width = header.l2_entry_size
                self.table[width * at : width * (at + count)] = self._entries(first, count, filling)
            else:
                place = self._clusters.take(1)
                self._fresh.append((place, first, at, count, filling))
                self.words[index] = place | layout.COPIED
            first += count

    def settle(self) -> None:
        """The changed table has a place: its own, or a new one where snapshots share it or it is not there yet."""
        header, clusters = self._header, self._clusters
        if self.table == self._old:
            return
        shared = self._place and not clusters.ones(self._place >> header.cluster_bits, 1)
        if shared or not self._place:
            if shared:
                clusters.refer(self._place >> header.cluster_bits, 1, -1)
            self._place, self._new = clusters.take(1), True
            self.words[self._index] = self._place | layout.COPIED

    def fresh(self) -> Iterator[Put]:
        """Tables at new places. Nothing refers to them yet."""
        if self._new:
            yield Put(self._place, bytes(self.table))
        size = self._header.cluster_size
        width = self._header.l2_entry_size
        for place, first, at, count, filling in self._fresh:
            data = bytes(width * at) + self._entries(first, count, filling)
            yield Put(place, data.ljust(size, b"\0"))
        if self.l1_offset != self._header.l1_table_offset:
            yield from put_pieces(self.l1_offset, big_endian(self.words))

    def written(self) -> Iterator[Put]:
        """Entries changed where they lie: of the L2 table, and of the L1 table unless that moves."""
        if not self._new and self._place:
            yield from differing(self._place, self._old, self.table)
        if self.l1_offset == self._header.l1_table_offset:
            yield from differing(self.l1_offset, big_endian(self._old_l1), big_endian(self.words))

    def _entries(self, first: int, count: int, filling: Filling) -> bytes:
        bitmap = filling.bitmap if self._header.extended_l2 else None
        return run_bytes(count, filling.entry + filling.step * first, filling.step, bitmap)

    def _read(self, table: int) -> bytes:
        return self._source.read(table, self._header.cluster_size, pad=True)

    def _unrefer(self, table: bytes | bytearray) -> None:
        if not self._header.data_file:
            refer(self._header, bytes(table), self._clusters, -1)


def entry_of(header: Header, table: bytes | bytearray, at: int) -> tuple[int, int]:
    """(entry, subcluster bitmap) of an L2 table in memory; the bitmap of a standard entry is ALLOCATED."""
    width = header.l2_entry_size
    entry = int.from_bytes(table[width * at : width * at + 8], "big")
    return entry, int.from_bytes(table[width * at + 8 : width * at + 16], "big") if header.extended_l2 else ALLOCATED


def set_entry(header: Header, table: bytearray, at: int, entry: int, bitmap: int) -> None:
    """The entry of an L2 table in memory is this."""
    width = header.l2_entry_size
    table[width * at : width * at + 8] = entry.to_bytes(8, "big")
    if header.extended_l2:
        table[width * at + 8 : width * at + 16] = bitmap.to_bytes(8, "big")
