"""The snapshot table as a check finds it, and as a repair writes it anew. Source: docs/interop/qcow2.txt of QEMU,
"Snapshots"."""

from __future__ import annotations

from instar_core.errors import ErrorKind, FormatError
from instar_core.types import Finding, Severity
from instar_qcow2 import layout, limits
from instar_qcow2.header import snapshots_fit
from instar_qcow2.references import corruption
from instar_qcow2.snapshots import snapshot_entries

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import NamedTuple

    from instar_core.source import Source
    from instar_qcow2.header import Header
    from instar_qcow2.snapshots import SnapshotEntry
else:
    from instar_core.record import NamedTuple

EXTRA_NEEDED = 16
"""Bytes of extra data that every entry of a version 3 image has: a 64-bit state size and the virtual size."""


class Table(NamedTuple):
    """A snapshot table: `header` with the number of entries that count, these entries, what is wrong, whether it has to
    be written anew for that, and the error that ends the check, if any."""

    header: Header
    entries: tuple[SnapshotEntry, ...]
    findings: tuple[Finding, ...]
    anew: bool = False
    error: FormatError | None = None


def read_table(source: Source, header: Header, *, repairs: bool) -> Table:
    """The table; with `repairs` what is beyond bounds is left out of it, as qemu does, and what lies wholly past the
    end of the file."""
    findings: list[Finding] = []
    overhanging = header.nb_snapshots > limits.SNAPSHOTS
    if repairs and header.nb_snapshots > limits.SNAPSHOTS:
        findings.append(_discarding(header.nb_snapshots - limits.SNAPSHOTS, ""))
        header = header._replace(nb_snapshots=limits.SNAPSHOTS)
    entries: list[SnapshotEntry] = []
    try:
        snapshots_fit(header, "snapshot table")
        for index, entry in enumerate(snapshot_entries(source, header, trimmed=repairs)):
            if repairs and entry.offset >= source.size:
                findings.append(_discarding(header.nb_snapshots - index, " (they lie past the end of the file)"))
                break
            if repairs and overhanging and not plausible(header, entry):
                findings.append(_discarding(header.nb_snapshots - index, " (they are none)"))
                break
            if entry.trimmed_from:
                text = f"Discarding too much extra metadata in snapshot table entry {index}"
                size = f"({entry.trimmed_from} > {limits.SNAPSHOT_EXTRA})"
                findings.append(corruption(f"{text} {size}", repairable=True))
            entries.append(entry)
    except FormatError as error:
        if not repairs or error.kind != ErrorKind.LIMIT or "too big" not in error.message:
            return _failed(header, error, findings)
        findings.append(_discarding(header.nb_snapshots - len(entries), " (snapshot table is too big)"))
    word = "Repairing" if repairs else "ERROR"
    findings += [
        corruption(f"{word} snapshot table entry {index} is incomplete", repairable=True)
        for index, entry in enumerate(entries)
        if header.version >= 3 and entry.extra_data_size < EXTRA_NEEDED
    ]
    anew = repairs and bool(findings)
    return Table(header._replace(nb_snapshots=len(entries)), tuple(entries), tuple(findings), anew)


def plausible(header: Header, entry: SnapshotEntry) -> bool:
    """Whether an entry of a table whose length is wrong can be one."""
    aligned = entry.l1_table_offset and not entry.l1_table_offset % header.cluster_size
    return bool(aligned and entry.l1_size and entry.snapshot.id)


def _discarding(count: int, why: str) -> Finding:
    text = f"Discarding {count} overhanging snapshots{why}"
    return Finding(Severity.CORRUPTION, text, count=count, repairable=True)


def _failed(header: Header, error: FormatError, findings: list[Finding]) -> Table:
    """The table cannot be read: the check ends."""
    findings.append(Finding(Severity.NOTE, f"ERROR {error.message}", 0 if error.offset is None else error.offset))
    if header.nb_snapshots > limits.SNAPSHOTS:
        over = header.nb_snapshots - limits.SNAPSHOTS
        findings.append(
            Finding(Severity.NOTE, f"You can force-remove all {over} overhanging snapshots with qemu-img check -r all")
        )
    reason = "File too large" if error.kind == ErrorKind.LIMIT else "Invalid argument"
    ended = FormatError(reason, kind=error.kind, offset=error.offset)
    return Table(header._replace(nb_snapshots=0), (), tuple(findings), False, ended)


def table_data(source: Source, table: Table, places: Mapping[int, int]) -> bytes:
    """The entries as they are written: with all extra data that the specification wants, and what there was besides.

    `places` are the new offsets of the L1 tables that move, by the old ones.
    """
    made = []
    for entry in table.entries:
        fixed = bytearray(source.read(entry.offset, layout.SNAPSHOT.size, pad=True))
        offset = places.get(entry.l1_table_offset)
        if offset is not None:
            fixed[:8] = offset.to_bytes(8, "big")
        extra = source.read(entry.offset + layout.SNAPSHOT.size, entry.extra_data_size, pad=True)
        snapshot = entry.snapshot
        known = layout.SNAPSHOT_EXTRA.pack(
            snapshot.state_size, snapshot.virtual_size, (1 << 64) - 1 if snapshot.icount is None else snapshot.icount
        )
        size = layout.SNAPSHOT_EXTRA.size
        extra = extra[:size] + known[len(extra[:size]) :] + extra[size:]
        fixed[36:40] = len(extra).to_bytes(4, "big")
        words = source.read(entry.offset + entry.length - entry.words, entry.words, pad=True)
        data = bytes(fixed) + extra + words
        made.append(data + bytes(-len(data) % 8))
    return b"".join(made)
