"""The stored refcounts of an image that is changed in place: what goes up is stable before anything refers to it.

Blocks are written over where they lie. A new block is named by the table only when it is stable itself, and when the
block that counts it is named; a table that is too small is written anew elsewhere, and one write of the header, whose
fields lie in one sector, makes it current. Source: docs/interop/qcow2.txt of QEMU, "Host cluster management".
"""

from __future__ import annotations

from array import array
from struct import pack

from instar_core.errors import ErrorKind, FormatError
from instar_core.types import Barrier, Put
from instar_qcow2 import limits
from instar_qcow2.shadow import big_endian, put_pieces
from instar_qcow2.sizes import refcount_clusters

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from instar_core.types import Edit
    from instar_qcow2.header import Header
    from instar_qcow2.hostclusters import HostClusters

TABLE_FIELDS = 48
"""Offset of refcount_table_offset; refcount_table_clusters follows it."""


class StoredRefcounts:
    """Writes what HostClusters counts. Call `take_places`, yield `puts`, a Barrier, and `links`, in this order.

    `old_table` is (first cluster, count) of a table that `links` replaced, for the caller to release; else None.
    """

    __slots__ = ("_clusters", "_header", "_levels", "_linked", "_new_table", "_offset", "_size", "old_table")

    def __init__(self, header: Header, clusters: HostClusters) -> None:
        self._header, self._clusters = header, clusters
        self._offset, self._size = header.refcount_table_offset, header.refcount_table_clusters
        self._linked = {number for number, place in enumerate(clusters.places) if place}
        self._levels: list[list[int]] = []
        self._new_table: tuple[int, int] | None = None
        self.old_table: tuple[int, int] | None = None

    def take_places(self) -> None:
        """Every block that counts something has a place, and so has a table for all of them."""
        clusters, bits = self._clusters, self._header.cluster_bits
        self._new_table = self.old_table = None
        clusters.place_blocks()
        self._levels = clusters.levels(clusters.dirty - self._linked)
        if 8 * len(clusters.places) > self._size << bits or not all(self._levels):
            # Half as many clusters again as needed now: a table is not moved for every few blocks.
            wanted = clusters.end + clusters.end // 2 + self._size
            size = max(self._size, refcount_clusters(wanted, bits, self._header.refcount_order)[0])
            size = min(size, limits.REFCOUNT_TABLE >> bits)
            offset = clusters.take(size)
            clusters.place_blocks()
            if 8 * len(clusters.places) > size << bits:
                raise FormatError("File too large", kind=ErrorKind.LIMIT)
            self._new_table = offset, size
            self._levels = []

    def puts(self) -> Iterator[Put]:
        """What nothing refers to before `links`, and blocks that are written over: their counts go up, or went down
        for what nothing stable refers to any more."""
        for number in sorted(self._clusters.dirty):
            yield Put(self._clusters.places[number], self._clusters.encode(number))
        self._clusters.dirty.clear()
        if self._new_table is not None:
            offset, size = self._new_table
            words = array("Q", self._clusters.places)
            yield from put_pieces(offset, big_endian(words).ljust(size << self._header.cluster_bits, b"\0"))

    def links(self) -> Iterator[Edit]:
        """The table names every block; a Barrier is last, if there was anything to do."""
        if self._new_table is not None:
            offset, size = self._new_table
            yield Put(TABLE_FIELDS, pack(">QI", offset, size))
            yield Barrier()
            self.old_table = self._offset >> self._header.cluster_bits, self._size
            self._offset, self._size = offset, size
        for level in self._levels:
            yield from self._entries(level)
            yield Barrier()
        self._linked.update(number for number, place in enumerate(self._clusters.places) if place)
        self._levels = []

    def _entries(self, numbers: list[int]) -> Iterator[Put]:
        """Table entries of these blocks, ascending; neighbours together."""
        at = 0
        while at < len(numbers):
            end = at + 1
            while end < len(numbers) and numbers[end] == numbers[end - 1] + 1:
                end += 1
            words = array("Q", (self._clusters.places[number] for number in numbers[at:end]))
            yield from put_pieces(self._offset + 8 * numbers[at], big_endian(words))
            at = end
