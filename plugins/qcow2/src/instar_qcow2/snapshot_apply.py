"""Going back to an internal snapshot, in place. Source: docs/interop/qcow2.txt of QEMU, "Snapshots"."""

from __future__ import annotations

from instar_core.errors import ErrorKind, FormatError
from instar_qcow2.header import l1_entries
from instar_qcow2.hostclusters import HostClusters
from instar_qcow2.shadow import ActiveTables, place, switch
from instar_qcow2.snapshot_counts import count_tables
from instar_qcow2.snapshots import snapshot_entries

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from instar_core.source import Source
    from instar_core.types import Edit, SnapshotEdit
    from instar_qcow2.header import Header
    from instar_qcow2.snapshots import SnapshotEntry

LOADING = "Failed to load snapshot: "


def apply_snapshot(source: Source, header: Header, request: SnapshotEdit) -> Iterator[Edit]:
    """The active content is the snapshot's, and the disk has the size that it had then; every snapshot is as before.

    The snapshot is the first with that id, or else with that name.
    """
    if header.extensions.bitmaps is not None:
        raise FormatError("Device has active dirty bitmaps", kind=ErrorKind.UNSUPPORTED)
    if header.data_file:
        raise FormatError(LOADING + "Operation not supported", kind=ErrorKind.UNSUPPORTED)
    wanted = chosen(list(snapshot_entries(source, header)), request.name)
    size = wanted.snapshot.virtual_size
    if size % 512 or l1_entries(header, size) > wanted.l1_size or size > (1 << 63) - (1 << 21):
        raise FormatError(LOADING + "Invalid argument", kind=ErrorKind.CORRUPT, offset=wanted.offset)
    clusters = HostClusters(source, header)
    count_tables(source, header, clusters, wanted.l1_table_offset, wanted.l1_size, 1)
    count_tables(source, header, clusters, header.l1_table_offset, header.l1_size, -1)
    clusters.refer_bytes(header.l1_table_offset, 8 * header.l1_size, -1)
    active = ActiveTables(source, header, clusters, 1, (wanted.l1_table_offset, wanted.l1_size))
    offset = place(clusters, header, 8 * wanted.l1_size)
    fields = {"l1_size": wanted.l1_size, "l1_table_offset": offset, "size": size}
    puts = [(offset, active.data())]
    active.changed = False  # the table has its place already
    yield from switch(source, header, clusters, active, puts, fields=fields)


def chosen(entries: list[SnapshotEntry], name: str) -> SnapshotEntry:
    """The first entry with this id, or else with this name."""
    for entry in entries:
        if entry.snapshot.id == name:
            return entry
    for entry in entries:
        if entry.snapshot.name == name:
            return entry
    raise FormatError(LOADING + "No such file or directory", kind=ErrorKind.MISSING)
