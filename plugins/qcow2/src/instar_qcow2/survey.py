"""Who refers to what in an image: everything is counted in the order in which qemu-img tells what is wrong with it.

Source: docs/interop/qcow2.txt of QEMU.
"""

from __future__ import annotations

from instar_core.types import Finding
from instar_qcow2 import layout, limits
from instar_qcow2.bitmaps import bitmap_pieces, directory_entries
from instar_qcow2.refcounts import Refcounts
from instar_qcow2.references import References, corruption, repairing
from instar_qcow2.snapshots import snapshot_entries
from instar_qcow2.tablescan import equal_runs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from instar_core.source import Source
    from instar_qcow2.header import Header
    from instar_qcow2.snapshots import SnapshotEntry

RESERVED_IN_TABLE = 0x1FF
KEPT = 10000
"""Findings that are held until it is known whether anything can be mended."""


class Survey:
    """One count. `references` is what it counts, `refcounts` what is stored; `broken` says that the refcount structures
    cannot be mended where they are. Given an earlier count (`before`), tables are mended, see References; with
    `repairs` the findings say that refcount structures are."""

    __slots__ = ("_repairs", "_snapshots", "_source", "broken", "header", "refcounts", "references")

    def __init__(
        self,
        source: Source,
        header: Header,
        snapshots: Sequence[SnapshotEntry] | None = None,
        before: References | None = None,
        *,
        repairs: bool = False,
    ) -> None:
        """`snapshots` are the entries of the snapshot table that count, where these are not all that it has."""
        self._source = source
        self._snapshots = snapshots
        self._repairs = repairs
        self.header = header
        self.refcounts = Refcounts(source, header)
        self.references = References(source, header, self.refcounts, before, repairs=repairs)
        self.broken = False

    def findings(self) -> Iterator[Finding]:
        """Everything is counted as the findings are taken."""
        header, references = self.header, self.references
        yield from references.add(0, header.cluster_size)
        yield from references.add_l1(header.l1_table_offset, header.l1_size, active=True)
        yield from self._add_snapshots()
        yield from references.add(header.refcount_table_offset, header.refcount_table_clusters << header.cluster_bits)
        if header.extensions.crypto is not None:
            yield from references.add(*header.extensions.crypto)
        yield from self._add_bitmaps()
        yield from self._add_refcount_blocks()

    def _add_snapshots(self) -> Iterator[Finding]:
        header = self.header
        if header.data_file and header.nb_snapshots:
            yield corruption(f"ERROR {header.nb_snapshots} snapshots in image with data file")
        end = header.snapshots_offset
        for entry in snapshot_entries(self._source, header) if self._snapshots is None else self._snapshots:
            end = entry.offset + entry.length
            who = f"ERROR snapshot {entry.snapshot.id} ({entry.snapshot.name})"
            if entry.l1_table_offset % header.cluster_size:
                where = f"{entry.l1_table_offset:#x}" if entry.l1_table_offset else "0"
                yield corruption(
                    f"{who} l1_offset={where}: L1 table is not cluster aligned; snapshot table entry corrupted"
                )
            elif 8 * entry.l1_size > limits.L1_TABLE:
                yield corruption(
                    f"{who} l1_size={entry.l1_size:#x}: L1 table is too large; snapshot table entry corrupted"
                )
            else:
                yield from self.references.add_l1(entry.l1_table_offset, entry.l1_size, active=False)
        yield from self.references.add(header.snapshots_offset, end - header.snapshots_offset)

    def _add_bitmaps(self) -> Iterator[Finding]:
        header, references = self.header, self.references
        extension = header.extensions.bitmaps
        if extension is None:
            return
        yield from references.add(extension.offset, extension.size)
        for entry in directory_entries(self._source, header):
            yield from references.add(entry.table_offset, 8 * entry.table_size)
            for index, value, sound in bitmap_pieces(self._source, header, entry):
                offset = value & layout.BITMAP_TABLE_OFFSET_MASK
                if not sound:
                    yield corruption(f"ERROR bitmap '{entry.name}' table entry {index} is corrupted: {value:x}")
                elif offset:
                    yield from references.add(offset, header.cluster_size)

    def _add_refcount_blocks(self) -> Iterator[Finding]:
        header, references, refcounts = self.header, self.references, self.refcounts
        size = header.cluster_size
        for index, count, entry in equal_runs(self._source, refcounts.table_offset, refcounts.entries):
            for number in range(index, index + count):
                fault = self.refcount_block_fault(number, entry)
                if fault:
                    self.broken = True
                    yield corruption(fault, repairable=True)
                    continue
                offset = entry & layout.REFTABLE_OFFSET_MASK
                yield from references.add(offset, size)
                counted = references.tally[offset >> header.cluster_bits]
                if counted != 1:
                    self.broken = True
                    yield corruption(f"ERROR refcount block {number} refcount={counted}", repairable=True)

    def refcount_block_fault(self, number: int, entry: int) -> str:
        """Why the refcount block of this entry of the refcount table cannot be one; empty where it can."""
        offset = entry & layout.REFTABLE_OFFSET_MASK
        if entry & RESERVED_IN_TABLE:
            return f"ERROR refcount table entry {number} has reserved bits set"
        if offset % self.header.cluster_size:
            return f"ERROR refcount block {number} is not cluster aligned; refcount table entry corrupted"
        if offset >> self.header.cluster_bits >= self.references.clusters:
            text = f"ERROR refcount block {number} is outside image"
            return text if not self._repairs else repairing(text)
        return ""


def counted(source: Source, header: Header, snapshots: Sequence[SnapshotEntry]) -> tuple[Survey, list[Finding] | None]:
    """A complete count in which nothing is mended, and its findings, None if they are too many to be held."""
    survey = Survey(source, header, snapshots, repairs=True)
    kept: list[Finding] = []
    for finding in survey.findings():
        if len(kept) <= KEPT:
            kept.append(finding)
    return survey, None if len(kept) > KEPT else kept


def mended(
    source: Source, snapshots: Sequence[SnapshotEntry], first: Survey, kept: list[Finding] | None
) -> tuple[Survey, Iterator[Finding]]:
    """The count with what can be mended taken as mended, after that first one, and its findings: it is complete when
    these are taken."""
    if kept is not None and not first.references.mendable:
        return first, iter(kept)
    second = Survey(source, first.header, snapshots, first.references, repairs=True)
    return second, second.findings()
