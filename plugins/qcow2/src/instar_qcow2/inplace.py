"""L2 tables changed in place, cluster by cluster: new ones are stable before they are referred to, old ones given up
after that.

A cycle of phases: content, new L2 tables and refcounts that go up | refcount blocks are named | L2 and L1 entries are
written over where they lie | refcounts that go down, with the next cycle. Each entry is old or new whatever becomes
of the others. Source: docs/interop/qcow2.txt of QEMU, "Cluster mapping".
"""

from __future__ import annotations

from array import array

from instar_core.errors import FormatError
from instar_core.limits import MIB
from instar_core.types import Barrier, Punch, Put, Truncate
from instar_qcow2 import layout
from instar_qcow2.cycled_clusters import CycledClusters
from instar_qcow2.errors import corrupt, hexadecimal
from instar_qcow2.hostclusters import unreferenced
from instar_qcow2.inplace_refcounts import StoredRefcounts
from instar_qcow2.metadata_places import MetadataPlaces
from instar_qcow2.shadow import big_endian, put_pieces

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from instar_core.source import Source
    from instar_core.types import Edit
    from instar_qcow2.header import Header

PENDING = 8 * MIB
"""Bytes of changed L2 tables after which a cycle ends."""

DROPS = 1 << 16
"""Stretches to be given up after which a cycle ends."""


class Table:
    """An L2 table in memory. `fresh` until the L1 table names it where it lies; `low` and `high` bound the bytes that
    changed."""

    __slots__ = ("data", "fresh", "high", "index", "low", "offset", "shared")

    def __init__(self, index: int, offset: int, data: bytearray, shared: bool) -> None:
        self.index, self.offset, self.data = index, offset, data
        self.shared = shared
        self.fresh = False
        self.low, self.high = len(data), 0


class InPlace:
    """The L2 tables of an image being changed, one after another as the disk ascends; a table may be the next again.

    `clusters` are all refcounts. `later` are Puts into what is referred to already, for the phase of the entries.
    """

    __slots__ = (
        "_drops", "_end", "_outside", "_pending", "_places", "_refcounts", "_table", "_waiting",
        "clusters", "header", "later", "source",
    )  # fmt: skip

    def __init__(self, source: Source, header: Header) -> None:
        self.source, self.header = source, header
        self.clusters = CycledClusters(source, header)
        self.later: list[Put] = []
        self._places = MetadataPlaces(source, header, self.clusters)
        self._refcounts = StoredRefcounts(header, self.clusters)
        self._end = source.size
        self._table: Table | None = None
        self._pending: list[Table] = []
        self._waiting = 0
        self._drops: list[list[int]] = []
        self._outside: list[list[int]] = []

    @property
    def full(self) -> bool:
        """Whether so much waits in memory that a cycle should end."""
        return self._waiting > PENDING or len(self._drops) + len(self._outside) > DROPS

    def table(self, index: int) -> Table:
        """The L2 table of this L1 index, empty where there is none. Raises FormatError where it is not sound."""
        last = self._table
        if last is not None and last.index == index:
            return last
        self._table = self._load(index)
        return self._table

    def _load(self, index: int) -> Table:
        header, where = self.header, self.header.l1_table_offset + 8 * index
        entry = int.from_bytes(self.source.read(where, 8, pad=True), "big")
        offset = entry & layout.OFFSET_MASK
        if offset % header.cluster_size:
            raise corrupt(f"L2 table offset {offset:#x} unaligned (L1 index: {hexadecimal(index)})", where)
        if entry & layout.L1_RESERVED:
            raise corrupt(f"L1 entry {entry:#x} has reserved bits set (L1 index: {hexadecimal(index)})", where)
        if not offset:
            return Table(index, 0, bytearray(header.cluster_size), False)
        count = self.clusters[offset >> header.cluster_bits]
        if not count:
            raise unreferenced(offset)
        data = bytearray(self.source.read(offset, header.cluster_size, pad=True))
        return Table(index, offset, data, count != 1 or not entry & layout.COPIED)

    def write(self, table: Table, at: int, entries: bytes) -> None:
        """The table has these bytes from entry `at` on."""
        low = at * self.header.l2_entry_size
        high = low + len(entries)
        if table.data[low:high] == entries:
            return
        if not table.high:
            self._pending.append(table)
            self._waiting += self.header.cluster_size
        if table.shared:
            self.drop(table.offset >> self.header.cluster_bits, 1)
        if table.shared or not table.offset:
            table.offset, table.shared, table.fresh = self.clusters.take(1), False, True
        table.data[low:high] = entries
        table.low, table.high = min(table.low, low), max(table.high, high)

    def owned(self, offset: int, count: int) -> int | None:
        """Whether the `count` clusters at byte `offset` are in use here alone: 1, 0 (none), or None (some).

        Raises FormatError where they hold metadata, or are counted as free.
        """
        self._places.refuse(offset, count)
        return self.clusters.ones(offset >> self.header.cluster_bits, count)

    def drop(self, first: int, count: int) -> None:
        """These host clusters are referred to once less when the entries that did so are gone."""
        last = self._drops[-1] if self._drops else None
        if last is not None and last[0] + last[1] == first:
            last[1] += count
        else:
            self._drops.append([first, count])

    def drop_bytes(self, offset: int, length: int) -> None:
        """Like drop, for the clusters that hold these bytes."""
        bits = self.header.cluster_bits
        first, end = offset >> bits, (offset + length - 1 >> bits) + 1
        self.clusters.ones(first, end - first)
        for cluster in range(first, end):
            self.drop(cluster, 1)

    def drop_outside(self, offset: int, length: int) -> None:
        """This stretch of the external data file is not needed when the entries that named it are gone."""
        last = self._outside[-1] if self._outside else None
        if last is not None and last[0] + last[1] == offset:
            last[1] += length
        else:
            self._outside.append([offset, length])

    def flush(self) -> Iterator[Edit]:
        """A cycle ends: all changes so far are current, and a Barrier is last. Nothing is yielded if there is nothing
        to say, and then what was copied is not stable yet."""
        if not (self._pending or self.later or self.clusters.dirty or self._drops or self._outside):
            return
        bits = self.header.cluster_bits
        self._refcounts.take_places()
        if self.clusters.end << bits > self._end:
            self._end = self.clusters.end << bits
            yield Truncate(self._end)
        for table in self._pending:
            if table.fresh:
                yield Put(table.offset, bytes(table.data))
        yield from self._refcounts.puts()
        yield Barrier()
        yield from self._refcounts.links()
        if self._pending or self.later:
            yield from self._entries()
            yield Barrier()
        if self._refcounts.old_table is not None:
            self.drop(*self._refcounts.old_table)
        yield from self._give_up()

    def finish(self) -> Iterator[Edit]:
        """All changes are current and stable, and nothing that is not needed is counted any more."""
        yield from self.flush()
        yield from self.flush()
        yield Barrier()

    def _entries(self) -> Iterator[Edit]:
        """L2 and L1 entries are written over where they lie."""
        named: list[tuple[int, int]] = []
        for table in self._pending:
            if table.fresh:
                named.append((table.index, layout.COPIED | table.offset))
            else:
                yield Put(table.offset + table.low, bytes(table.data[table.low : table.high]))
            table.fresh, table.low, table.high = False, len(table.data), 0
        at = 0
        while at < len(named):
            end = at + 1
            while end < len(named) and named[end][0] == named[end - 1][0] + 1:
                end += 1
            words = array("Q", (entry for _, entry in named[at:end]))
            yield from put_pieces(self.header.l1_table_offset + 8 * named[at][0], big_endian(words))
            at = end
        yield from self.later
        self.later = []
        self._pending = []
        self._waiting = 0

    def _give_up(self) -> Iterator[Punch]:
        drops, self._drops = self._drops, []
        for first, count in drops:
            for offset, length in self.clusters.release(first, count):
                yield Punch(offset, length)
        outside, self._outside = self._outside, []
        for offset, length in outside:
            yield Punch(offset, length, 1)


def sound(header: Header, entry: int, bitmap: int = 0) -> None:
    """Raise FormatError for an L2 entry that the image may not have."""
    if entry & layout.COMPRESSED:
        if header.data_file:
            raise FormatError("Compressed cluster entry found in image with external data file")
        return
    zero = entry & layout.ZERO
    if entry & layout.L2_RESERVED or (zero and (header.version < 3 or header.extended_l2)):
        raise FormatError(f"L2 entry {entry:#x} has reserved bits set")
    if bitmap >> layout.SUBCLUSTERS & bitmap:
        raise FormatError(f"Invalid cluster entry found: subcluster bitmap {bitmap:#x}")
