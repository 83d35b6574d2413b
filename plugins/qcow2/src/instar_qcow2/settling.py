"""Changed refcounts brought into the image where they lie: first those that rise, long after those that fall.

Between the two lies the change itself, so that at any time every cluster that is referred to is counted; what is
counted and not referred to is a leak. A refcount never lies across two sectors, so each is old or new.
Source: docs/interop/qcow2.txt of QEMU, "Host cluster management".
"""

from __future__ import annotations

from array import array

from instar_core.errors import ErrorKind, FormatError
from instar_core.types import Barrier, Punch, Put, Truncate
from instar_qcow2 import limits
from instar_qcow2.differing import differing
from instar_qcow2.shadow import big_endian, put_pieces
from instar_qcow2.sizes import refcount_clusters

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from instar_core.source import Source
    from instar_core.types import Edit
    from instar_qcow2.header import Header
    from instar_qcow2.hostclusters import HostClusters


class Settling:
    """The refcounts as they are once all places are taken. `table` is the refcount table's new place (offset, clusters)
    where it moves, which the header must be told in between.
    """

    __slots__ = ("_clusters", "_fresh", "_header", "_size", "table")

    def __init__(self, source: Source, header: Header, clusters: HostClusters) -> None:
        """Blocks, and a table, that are missing get places: nothing else may be taken after this."""
        self._header, self._clusters = header, clusters
        self._size = source.size
        self.table: tuple[int, int] | None = None
        bits = header.cluster_bits
        room = (header.refcount_table_clusters << bits) // 8
        self._fresh = set(clusters.place_blocks())
        if len(clusters.places) > room or clusters.levels(self._fresh)[-1:] == [[]]:
            size = refcount_clusters(clusters.end + header.refcount_table_clusters, bits, header.refcount_order)[0]
            size = max(size, header.refcount_table_clusters)
            self.table = clusters.take(size), size
            clusters.refer(header.refcount_table_offset >> bits, header.refcount_table_clusters, -1)
            self._fresh.update(clusters.place_blocks())
            if 8 * len(clusters.places) > size << bits or size << bits > limits.REFCOUNT_TABLE:
                raise FormatError("File too large", kind=ErrorKind.LIMIT)

    def fields(self) -> dict[str, int]:
        """What the header must say of the refcount table from the commit on."""
        if self.table is None:
            return {}
        return {"refcount_table_offset": self.table[0], "refcount_table_clusters": self.table[1]}

    def rise(self) -> Iterator[Edit]:
        """Everything that will be referred to is counted; all before is on stable storage."""
        clusters, bits = self._clusters, self._header.cluster_bits
        end = clusters.end << bits
        if end > self._size:
            yield Truncate(end)
        for number in sorted(clusters.dirty):
            if number in self._fresh:
                yield from put_pieces(clusters.places[number], clusters.encode(number))
            else:
                yield from self._moved(number, clusters.encode_before(number), clusters.encode_raised(number))
        if self.table is not None:
            offset, size = self.table
            yield from put_pieces(offset, big_endian(array("Q", clusters.places)).ljust(size << bits, b"\0"))
        yield Barrier()
        for level in clusters.levels(self._fresh) if self.table is None else ():
            for number in level:
                yield Put(self._header.refcount_table_offset + 8 * number, clusters.places[number].to_bytes(8, "big"))
            yield Barrier()

    def fall(self, *, before_cut: bool = False) -> Iterator[Edit]:
        """What nothing refers to any more is free. The change must be on stable storage.

        What `cut` takes away at the end of the file need not be given up first.
        """
        clusters = self._clusters
        for number in sorted(clusters.dirty - self._fresh):
            yield from self._moved(number, clusters.encode_raised(number), clusters.encode(number))
        stop = self._size
        if before_cut:
            bits = self._header.cluster_bits
            stop = clusters.used([place >> bits for place in self._empty().values()]) << bits
        for offset, length in clusters.freed():
            if offset < stop:
                yield Punch(offset, min(length, stop - offset))

    def cut(self) -> Iterator[Edit]:
        """Refcount blocks that count nothing are gone, and the file ends behind the last cluster in use."""
        header, clusters = self._header, self._clusters
        offset = header.refcount_table_offset if self.table is None else self.table[0]
        empty = self._empty()
        if empty:
            yield Barrier()
            for number in empty:
                yield Put(offset + 8 * number, bytes(8))
                clusters.places[number] = 0
            yield Barrier()
        per_block = clusters.per_block
        holders = {(place >> header.cluster_bits) // per_block for place in empty.values()} - empty.keys()
        before = {number: clusters.encode(number) for number in holders}
        for place in empty.values():
            clusters.refer(place >> header.cluster_bits, 1, -1)
        for number in sorted(holders):
            yield from self._moved(number, before[number], clusters.encode(number))
        end = clusters.used() << header.cluster_bits
        if end < self._size:
            yield Barrier()
            yield Truncate(end)

    def _empty(self) -> dict[int, int]:
        """Refcount blocks that count nothing but themselves: their places by number."""
        clusters = self._clusters
        return {n: place for n, place in enumerate(clusters.places) if place and clusters.counts_only(n, place)}

    def _moved(self, number: int, before: bytes, after: bytes) -> Iterator[Put]:
        yield from differing(self._clusters.places[number], before, after)
