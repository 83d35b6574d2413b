"""Creating, deleting and applying internal snapshots in place. Source: docs/interop/qcow2.txt of QEMU, "Snapshots"."""

from __future__ import annotations

from instar_core.errors import ErrorKind, FormatError
from instar_qcow2 import layout, limits
from instar_qcow2.header import read_header
from instar_qcow2.hostclusters import HostClusters
from instar_qcow2.shadow import ActiveTables, place, switch
from instar_qcow2.snapshot_apply import apply_snapshot
from instar_qcow2.snapshot_counts import count_tables as count_tables
from instar_qcow2.snapshots import snapshot_entries

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from instar_core.source import Image, Source
    from instar_core.types import Edit, SnapshotEdit
    from instar_qcow2.header import Header
    from instar_qcow2.snapshots import SnapshotEntry

NAME_BYTES = 255
"""Bytes of a snapshot's name that are kept, as qemu cuts it."""

SECOND = 1_000_000_000


def edit_snapshots(image: Image, request: SnapshotEdit) -> Iterator[Edit]:
    """The snapshot exists, or no longer does; the active content and every other snapshot are as before.

    Raises FormatError in the words that qemu puts after "Could not create snapshot 'NAME': " where it refuses too:
    MISSING for a snapshot that is not there.
    """
    source = image.main
    header = read_header(source)
    refuse(header)
    edits = {"create": create_snapshot, "delete": delete_snapshot, "apply": apply_snapshot}.get(request.action)
    if edits is None:
        raise FormatError(f"qcow2 snapshots have no action {request.action!r}", kind=ErrorKind.UNSUPPORTED)
    yield from edits(source, header, request)


def refuse(header: Header) -> None:
    """Raise FormatError for images that are not changed in place."""
    if header.incompatible_features & layout.INCOMPAT_CORRUPT:
        raise FormatError("qcow2: Image is corrupt; cannot be opened read/write", kind=ErrorKind.CORRUPT, offset=72)
    if header.incompatible_features & layout.INCOMPAT_DIRTY:
        raise FormatError(
            "The image was not closed cleanly, so its refcounts cannot be relied on; repair it first (check -r all)",
            kind=ErrorKind.UNSUPPORTED,
            offset=72,
        )


def create_snapshot(source: Source, header: Header, request: SnapshotEdit) -> Iterator[Edit]:
    """A snapshot of the active content is the last in the table."""
    if header.data_file:
        raise FormatError("Operation not supported", kind=ErrorKind.UNSUPPORTED)
    entries = list(snapshot_entries(source, header))
    if len(entries) >= limits.SNAPSHOTS:
        raise FormatError("File too large", kind=ErrorKind.LIMIT)
    clusters = HostClusters(source, header)
    count_tables(source, header, clusters, header.l1_table_offset, header.l1_size, 1)
    active = ActiveTables(source, header, clusters, 2)
    l1_offset = place(clusters, header, 8 * header.l1_size)
    new = new_entry(header, request, next_id(entries), l1_offset)
    puts = [(l1_offset, active.data())]
    yield from replace_table(source, header, clusters, active, entries, new, puts)


def delete_snapshot(source: Source, header: Header, request: SnapshotEdit) -> Iterator[Edit]:
    """The first snapshot of that name is gone, and what only it referred to is free."""
    entries = list(snapshot_entries(source, header))
    for index, gone in enumerate(entries):
        if gone.snapshot.name == request.name:
            del entries[index]
            break
    else:
        raise FormatError("snapshot not found", kind=ErrorKind.MISSING)
    if header.data_file:
        raise FormatError("Operation not supported", kind=ErrorKind.UNSUPPORTED)
    clusters = HostClusters(source, header)
    count_tables(source, header, clusters, gone.l1_table_offset, gone.l1_size, -1)
    clusters.refer_bytes(gone.l1_table_offset, 8 * gone.l1_size, -1)
    active = ActiveTables(source, header, clusters, 1)
    yield from replace_table(source, header, clusters, active, entries, b"", [])


def replace_table(
    source: Source,
    header: Header,
    clusters: HostClusters,
    active: ActiveTables,
    entries: list[SnapshotEntry],
    new: bytes,
    puts: list[tuple[int, bytes]],
) -> Iterator[Edit]:
    """The snapshot table holds `entries`, as they are stored, and then `new`."""
    data = b"".join(padded(source.read(entry.offset, entry.length, pad=True)) for entry in entries) + new
    if len(data) > limits.SNAPSHOT_TABLE:
        raise FormatError("File too large", kind=ErrorKind.LIMIT)
    clusters.refer_bytes(header.snapshots_offset, table_length(source, header), -1)
    offset = place(clusters, header, len(data))
    count = len(entries) + bool(new)
    fields = {"nb_snapshots": count, "snapshots_offset": offset}
    yield from switch(source, header, clusters, active, [*puts, (offset, data)], fields=fields)


def table_length(source: Source, header: Header) -> int:
    """Bytes of the snapshot table as it is."""
    end = header.snapshots_offset
    for entry in snapshot_entries(source, header):
        end = entry.offset + entry.length
    return end - header.snapshots_offset


def new_entry(header: Header, request: SnapshotEdit, number: int, l1_offset: int) -> bytes:
    """The table entry of the snapshot that is created, as qemu writes it: without machine state."""
    name = request.name.encode("utf-8", "surrogateescape")[:NAME_BYTES]
    id_ = str(number).encode()
    seconds, nanoseconds = divmod(request.time, SECOND)
    extra = layout.SNAPSHOT_EXTRA.pack(0, header.size, 0)
    fields = layout.SNAPSHOT.pack(
        l1_offset, header.l1_size, len(id_), len(name), seconds & 0xFFFFFFFF, nanoseconds, 0, 0, len(extra)
    )
    return padded(fields + extra + id_ + name)


def next_id(entries: list[SnapshotEntry]) -> int:
    """One more than the largest id that is a number, or starts with one."""
    numbers = [0]
    for entry in entries:
        text = entry.snapshot.id
        digits = len(text) - len(text.lstrip("0123456789"))
        numbers.append(int(text[:digits][:20] or "0"))
    return max(numbers) + 1


def padded(data: bytes) -> bytes:
    """`data` up to a multiple of 8 bytes."""
    return data + bytes(-len(data) % 8)
