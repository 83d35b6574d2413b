"""Refcounts of all that an L1 table refers to, when a snapshot comes or goes. Source: docs/interop/qcow2.txt of QEMU,
"Snapshots"."""

from __future__ import annotations

from instar_qcow2.level2 import read_l1, refer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from instar_core.source import Source
    from instar_qcow2.header import Header
    from instar_qcow2.hostclusters import HostClusters


def count_tables(source: Source, header: Header, clusters: HostClusters, offset: int, size: int, change: int) -> None:
    """The L2 tables of this L1 table, and what they refer to, are referred to once more or once less."""
    for table in read_l1(source, header, offset, size):
        if table:
            refer(header, source.read(table, header.cluster_size, pad=True), clusters, change)
            clusters.refer(table >> header.cluster_bits, 1, change)
