"""Changing an image's metadata without touching what is in use: new copies first, then one write of the header.

Every new copy lies where the state before the change has nothing, so a stop at any point leaves the old state whole,
and one sector of the header, which holds all the fields that change, makes the new one current.
Source: docs/interop/qcow2.txt of QEMU, "Header".
"""

from __future__ import annotations

import sys
from array import array

from instar_core import limits as core
from instar_core.errors import ErrorKind, FormatError
from instar_core.types import Put, Truncate
from instar_qcow2 import layout, limits
from instar_qcow2.level2 import flagged, read_l1, unflagged
from instar_qcow2.rehead import KEEP, rewriting
from instar_qcow2.sizes import ceil_div, refcount_clusters

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from instar_core.source import Source
    from instar_core.types import Edit
    from instar_qcow2.header import Header
    from instar_qcow2.hostclusters import HostClusters

KEPT = layout.AUTOCLEAR_BITMAPS | layout.AUTOCLEAR_DATA_FILE_RAW
"""Autoclear features that are kept up here; a switch clears the others."""


class ActiveTables:
    """The active L1 table as it will be: L2 tables whose COPIED flags change get new places.

    `entries` are its entries, `moved` the indices of L2 tables that move, `changed` whether any entry is new.
    """

    __slots__ = ("_clusters", "_header", "_old", "_shared", "_source", "changed", "entries", "moved")

    def __init__(
        self,
        source: Source,
        header: Header,
        clusters: HostClusters,
        shares: int,
        l1: tuple[int, int] | None = None,
    ) -> None:
        """Places are taken at once; a table that moves takes `shares` references with it: with more than one, so has
        all that it refers to. `l1` is where another L1 table lies that becomes the active one: offset and entries."""
        self._shared = shares > 1
        self._source, self._header, self._clusters = source, header, clusters
        self._old = read_l1(source, header, *(l1 or (header.l1_table_offset, header.l1_size)))
        self.entries = array("Q", self._old)
        self.moved = array("Q")
        bits = header.cluster_bits
        for index, table in enumerate(self._old):
            if not table:
                continue
            data = source.read(table, header.cluster_size, pad=True)
            if self._flagged(data) is not data:
                for _ in range(shares):
                    clusters.refer(table >> bits, 1, -1)
                self.entries[index] = clusters.take(1, shares)
                self.moved.append(index)
            if clusters.ones(self.entries[index] >> bits, 1):
                self.entries[index] |= layout.COPIED
        self.changed = list(self.entries) != list(source.table(8, header.l1_table_offset, header.l1_size, pad=True))

    def puts(self) -> Iterator[Put]:
        """The L2 tables that move, at their new places."""
        for index in self.moved:
            data = self._source.read(self._old[index], self._header.cluster_size, pad=True)
            yield Put(self.entries[index] & layout.OFFSET_MASK, self._flagged(data))

    def _flagged(self, data: bytes) -> bytes:
        if self._shared:
            return unflagged(self._header, data)
        return flagged(self._header, data, self._clusters)

    def data(self) -> bytes:
        """The L1 table as stored."""
        return big_endian(self.entries)


def big_endian(words: array[int]) -> bytes:
    """64-bit words as stored."""
    made = words[:]
    if sys.byteorder == "little":
        made.byteswap()
    return made.tobytes()


def put_pieces(offset: int, data: bytes) -> Iterator[Put]:
    """`data` at `offset`, in pieces."""
    for at in range(0, len(data), core.PUT):
        yield Put(offset + at, data[at : at + core.PUT])


def place(clusters: HostClusters, header: Header, length: int) -> int:
    """The offset of fresh clusters for `length` bytes, 0 where that is nothing."""
    return clusters.take(ceil_div(length, header.cluster_size)) if length else 0


def refcounts(header: Header, clusters: HostClusters) -> tuple[int, int, list[int]]:
    """Places for the refcount blocks that change and for the table: (its offset, its clusters, block numbers).

    Taking a place changes counts in turn, so this goes on until every block that changed has moved.
    """
    old = header.refcount_table_clusters
    bits = header.cluster_bits
    size = max(old, refcount_clusters(clusters.end + old, bits, header.refcount_order)[0])
    if size << bits > limits.REFCOUNT_TABLE:
        raise FormatError("File too large", kind=ErrorKind.LIMIT)
    table = clusters.take(size)
    clusters.refer(header.refcount_table_offset >> bits, old, -1)
    moved: set[int] = set()
    while fresh := clusters.dirty - moved:
        for number in sorted(fresh):
            if clusters.places[number]:
                clusters.refer(clusters.places[number] >> bits, 1, -1)
            clusters.places[number] = clusters.take(1)
        moved |= fresh
    return table, size, sorted(moved)


def switch(
    source: Source,
    header: Header,
    clusters: HostClusters,
    active: ActiveTables | None,
    puts: list[tuple[int, bytes]],
    *,
    fields: Mapping[str, int] | None = None,
    extensions: Mapping[int, bytes | None] | None = None,
    backing: bytes = KEEP,
) -> Iterator[Edit]:
    """The image is in the new state: `puts` are further (offset, data); the others as in rehead.rewriting.

    `active` are the active tables where they change; without, `fields` may place another L1 table. What is free
    afterwards stays allocated on disk, as qemu-img leaves it: giving back the many small pieces of a snapshot takes
    longer than all else.
    """
    values = dict(fields or {})
    if active is not None and active.changed:
        clusters.refer_bytes(header.l1_table_offset, 8 * header.l1_size, -1)
        values["l1_table_offset"] = place(clusters, header, 8 * header.l1_size)
        puts = [*puts, (values["l1_table_offset"], active.data())]
    table, size, numbers = refcounts(header, clusters)
    values.update(refcount_table_offset=table, refcount_table_clusters=size)
    values.setdefault("autoclear_features", header.autoclear_features & KEPT)
    new = rewriting(source, header, fields=values, extensions=extensions, backing=backing)
    end = clusters.end << header.cluster_bits
    if end > source.size:
        yield Truncate(end)
    if active is not None:
        yield from active.puts()
    for offset, data in puts:
        yield from put_pieces(offset, data)
    for number in numbers:
        yield Put(clusters.places[number], clusters.encode(number))
    words = array("Q", clusters.places)
    yield from put_pieces(table, big_endian(words).ljust(size << header.cluster_bits, b"\0"))
    yield from new.edits()
