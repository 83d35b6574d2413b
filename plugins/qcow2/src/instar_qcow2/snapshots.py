"""The snapshot table. Source: docs/interop/qcow2.txt of QEMU, "Snapshots"."""

from __future__ import annotations

from instar_core.errors import ErrorKind, FormatError
from instar_core.types import Snapshot
from instar_qcow2 import layout, limits
from instar_qcow2.extensions import text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import NamedTuple

    from instar_core.source import Source
    from instar_qcow2.header import Header
else:
    from instar_core.record import NamedTuple

FORCE = "You can force-remove "
REPAIR = " with qemu-img check -r all"


class SnapshotEntry(NamedTuple):
    """An entry of the snapshot table: where its L1 table lies, what it is, and the bytes it takes in the table.

    `words` are the bytes of its id and name, which are its last; `trimmed_from` is the size of its extra data where
    that is more than counts.
    """

    l1_table_offset: int
    l1_size: int
    extra_data_size: int
    snapshot: Snapshot
    offset: int
    length: int
    words: int = 0
    trimmed_from: int = 0


def snapshot_entries(source: Source, header: Header, *, trimmed: bool = False) -> Iterator[SnapshotEntry]:
    """The entries in table order; each is padded to a multiple of 8 bytes.

    Raises FormatError for a table larger than limits.SNAPSHOT_TABLE or extra data beyond limits.SNAPSHOT_EXTRA, of
    which with `trimmed` only so much counts.
    """
    offset = header.snapshots_offset
    for index in range(header.nb_snapshots):
        offset += -offset % 8
        l1_offset, l1_size, id_size, name_size, seconds, nanoseconds, clock, state_size, extra_size = source.unpack(
            layout.SNAPSHOT, offset, pad=True
        )
        start = offset
        offset += layout.SNAPSHOT.size
        kept = min(extra_size, limits.SNAPSHOT_EXTRA)
        if extra_size > kept and not trimmed:
            raise FormatError(
                f"Too much extra metadata in snapshot table entry {index}",
                kind=ErrorKind.LIMIT,
                offset=start + 36,
                hint=f"{FORCE}this extra metadata{REPAIR}",
            )
        extra = source.read(offset, kept, pad=True)
        offset += extra_size
        words = source.read(offset, id_size + name_size, pad=True)
        offset += id_size + name_size
        if offset - header.snapshots_offset > limits.SNAPSHOT_TABLE:
            raise FormatError(
                "Snapshot table is too big",
                kind=ErrorKind.LIMIT,
                offset=start,
                hint=f"{FORCE}all {header.nb_snapshots - index} overhanging snapshots{REPAIR}",
            )
        large, size, icount = layout.SNAPSHOT_EXTRA.unpack(extra[:24].ljust(24, b"\0"))
        yield SnapshotEntry(
            l1_offset,
            l1_size,
            kept,
            Snapshot(
                id=text(words[:id_size]),
                name=text(words[id_size:]),
                state_size=large if kept >= 8 else state_size,
                seconds=seconds,
                nanoseconds=nanoseconds,
                clock=clock,
                icount=icount if kept >= 24 and icount != (1 << 64) - 1 else None,
                virtual_size=size if kept >= 16 else header.disk_size,
            ),
            start,
            offset - start,
            id_size + name_size,
            extra_size if extra_size > kept else 0,
        )


def find_snapshot(source: Source, header: Header, wanted: str) -> SnapshotEntry:
    """The first snapshot with the id `wanted`, else FormatError."""
    for entry in snapshot_entries(source, header):
        if entry.snapshot.id == wanted:
            return entry
    raise FormatError("Can't find snapshot", kind=ErrorKind.MISSING)
