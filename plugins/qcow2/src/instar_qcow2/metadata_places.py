"""Which host clusters hold metadata: content is never written there, whatever an L2 entry says."""

from __future__ import annotations

from instar_core.errors import ErrorKind, FormatError
from instar_qcow2 import layout, limits
from instar_qcow2.header import table_fits
from instar_qcow2.snapshots import snapshot_entries
from instar_qcow2.tablescan import equal_runs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from instar_core.source import Source
    from instar_qcow2.header import Header
    from instar_qcow2.hostclusters import HostClusters

MARK = b"\1"


class MetadataPlaces:
    """The clusters of the header, the refcount table and blocks, the L1 tables, the active L2 tables, the snapshot
    table, the bitmap directory and the LUKS header, as they were when the change began: what it takes is marked by
    itself, as nothing gets the same clusters twice.
    """

    __slots__ = ("_bits", "_marks")

    def __init__(self, source: Source, header: Header, clusters: HostClusters) -> None:
        """Raises FormatError (CORRUPT) where one of them is counted as free."""
        self._bits = header.cluster_bits
        self._marks = bytearray(clusters.end)
        for offset, length in places(source, header, clusters):
            if not length:
                continue
            first = offset >> self._bits
            count = (offset + length - 1 >> self._bits) - first + 1
            clusters.ones(first, count)
            self._marks[first : first + count] = MARK * count

    def refuse(self, offset: int, count: int) -> None:
        """Raise FormatError where one of the `count` clusters at byte `offset` holds metadata."""
        first = offset >> self._bits
        at = self._marks.find(MARK, first, first + count)
        if at >= 0:
            raise FormatError(
                f"Preventing invalid write on metadata: the cluster at {at << self._bits:#x} is said to hold content",
                kind=ErrorKind.CORRUPT,
                offset=at << self._bits,
            )


def places(source: Source, header: Header, clusters: HostClusters) -> Iterator[tuple[int, int]]:
    """(offset, length) in bytes of each of them."""
    size = header.cluster_size
    yield 0, size
    yield header.refcount_table_offset, header.refcount_table_clusters * size
    yield from ((place, size) for place in clusters.places if place)
    yield header.l1_table_offset, 8 * header.l1_size
    for _, _, entry in equal_runs(source, header.l1_table_offset, header.l1_size):
        yield entry & layout.OFFSET_MASK & -size, size
    end = header.snapshots_offset
    for snapshot in snapshot_entries(source, header):
        table = snapshot.l1_table_offset, 8 * snapshot.l1_size
        table_fits(header, table, limits.L1_TABLE, "Snapshot L1 table", snapshot.offset)
        yield table
        end = snapshot.offset + snapshot.length
    yield header.snapshots_offset, end - header.snapshots_offset
    if header.extensions.bitmaps:
        yield header.extensions.bitmaps.offset, header.extensions.bitmaps.size
    if header.extensions.crypto:
        yield header.extensions.crypto
