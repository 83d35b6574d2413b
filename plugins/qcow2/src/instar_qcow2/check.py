"""Whether an image's metadata is consistent: every reference is counted anew and compared with the stored refcounts.

Findings come in qemu-img's order and words. Source: docs/interop/qcow2.txt of QEMU.
"""

from __future__ import annotations

from instar_core.errors import ErrorKind, FormatError
from instar_core.tally import unequal
from instar_core.types import Finding, Severity, Tally
from instar_qcow2 import layout, limits
from instar_qcow2.bitmaps import bitmap_pieces, bitmaps_of, directory_entries
from instar_qcow2.header import read_header, snapshots_fit
from instar_qcow2.refcounts import Refcounts, UnreadableBlockError
from instar_qcow2.references import References, corruption, is_allocated
from instar_qcow2.snapshots import snapshot_entries
from instar_qcow2.tablescan import equal_runs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from instar_core.source import Image, Source
    from instar_qcow2.header import Header

RESERVED_IN_TABLE = 0x1FF
SUPPRESSED = "; further non-fatal corruption events will be suppressed"


def check(image: Image) -> Iterator[Finding | Tally]:
    """Every finding, then one Tally. Raises FormatError where qemu-img gives up, or could not open the image."""
    source = image.main
    header = read_header(source, checking=True)
    bitmaps_of(source, header)
    clusters = -(-source.size >> header.cluster_bits)
    yield from _snapshot_table(source, header)
    if clusters > limits.CLUSTERS:
        raise FormatError("File too large", kind=ErrorKind.LIMIT)
    refcounts = Refcounts(source, header)
    references = References(source, header, refcounts)
    yield from references.add(0, header.cluster_size)
    yield from references.add_l1(header.l1_table_offset, header.l1_size, active=True)
    yield from _snapshots(source, header, references)
    yield from references.add(header.refcount_table_offset, header.refcount_table_clusters << header.cluster_bits)
    if header.extensions.crypto is not None:
        yield from references.add(*header.extensions.crypto)
    yield from _bitmaps(source, header, references)
    yield from _refcount_blocks(source, header, refcounts, references)
    errors, highest = 0, 0
    for finding, cluster in _compare(header, refcounts, references):
        highest = max(highest, cluster)
        if finding is not None:
            errors += finding.count if finding.severity == Severity.NOTE else 0
            yield finding
    yield from _copied_flags(source, header, refcounts, references)
    yield Tally(
        total=-(-header.disk_size >> header.cluster_bits),
        allocated=references.allocated,
        fragmented=references.fragmented,
        compressed=references.compressed,
        end=highest + 1 << header.cluster_bits,
        errors=errors,
    )


def _snapshot_table(source: Source, header: Header) -> Iterator[Finding]:
    try:
        snapshots_fit(header, "snapshot table")
        short = [
            index
            for index, entry in enumerate(snapshot_entries(source, header))
            if header.version >= 3 and entry.extra_data_size < 16
        ]
    except FormatError as error:
        yield Finding(Severity.NOTE, f"ERROR {error.message}", 0 if error.offset is None else error.offset)
        if header.nb_snapshots > limits.SNAPSHOTS:
            over = header.nb_snapshots - limits.SNAPSHOTS
            yield Finding(
                Severity.NOTE, f"You can force-remove all {over} overhanging snapshots with qemu-img check -r all"
            )
        reason = "File too large" if error.kind == ErrorKind.LIMIT else "Invalid argument"
        raise FormatError(reason, kind=error.kind, offset=error.offset) from error
    for index in short:
        yield corruption(f"ERROR snapshot table entry {index} is incomplete")


def _snapshots(source: Source, header: Header, references: References) -> Iterator[Finding]:
    if header.data_file and header.nb_snapshots:
        yield corruption(f"ERROR {header.nb_snapshots} snapshots in image with data file")
    end = header.snapshots_offset
    for entry in snapshot_entries(source, header):
        end = entry.offset + entry.length
        who = f"ERROR snapshot {entry.snapshot.id} ({entry.snapshot.name})"
        if entry.l1_table_offset % header.cluster_size:
            where = f"{entry.l1_table_offset:#x}" if entry.l1_table_offset else "0"
            yield corruption(
                f"{who} l1_offset={where}: L1 table is not cluster aligned; snapshot table entry corrupted"
            )
        elif 8 * entry.l1_size > limits.L1_TABLE:
            yield corruption(f"{who} l1_size={entry.l1_size:#x}: L1 table is too large; snapshot table entry corrupted")
        else:
            yield from references.add_l1(entry.l1_table_offset, entry.l1_size, active=False)
    yield from references.add(header.snapshots_offset, end - header.snapshots_offset)


def _bitmaps(source: Source, header: Header, references: References) -> Iterator[Finding]:
    extension = header.extensions.bitmaps
    if extension is None:
        return
    yield from references.add(extension.offset, extension.size)
    for entry in directory_entries(source, header):
        yield from references.add(entry.table_offset, 8 * entry.table_size)
        for index, value, sound in bitmap_pieces(source, header, entry):
            offset = value & layout.BITMAP_TABLE_OFFSET_MASK
            if not sound:
                yield corruption(f"ERROR bitmap '{entry.name}' table entry {index} is corrupted: {value:x}")
            elif offset:
                yield from references.add(offset, header.cluster_size)


def _refcount_blocks(source: Source, header: Header, refcounts: Refcounts, references: References) -> Iterator[Finding]:
    size = header.cluster_size
    for index, count, entry in equal_runs(source, refcounts.table_offset, refcounts.entries):
        for number in range(index, index + count):
            offset = entry & layout.REFTABLE_OFFSET_MASK
            if entry & RESERVED_IN_TABLE:
                yield corruption(f"ERROR refcount table entry {number} has reserved bits set")
            elif offset % size:
                yield corruption(
                    f"ERROR refcount block {number} is not cluster aligned; refcount table entry corrupted"
                )
            elif offset >> header.cluster_bits >= references.clusters:
                yield corruption(f"ERROR refcount block {number} is outside image")
            else:
                yield from references.add(offset, size)
                counted = references.tally[offset >> header.cluster_bits]
                if counted != 1:
                    yield corruption(f"ERROR refcount block {number} refcount={counted}")


def _compare(header: Header, refcounts: Refcounts, references: References) -> Iterator[tuple[Finding | None, int]]:
    """Differences between stored and counted; with each the highest cluster so far that is in use.

    Where a refcount cannot be read, qemu takes the cluster neither as used nor as wrong; the note counts as an error.
    """
    clusters = references.clusters
    done, remarked = 0, False
    for index, first, count in refcounts.blocks(clusters):
        yield from _compare_unstored(references, done, first - done)
        done = first + count
        try:
            stored = refcounts.block(index)
        except UnreadableBlockError as error:
            if not remarked and error.unaligned:
                remarked = True
                yield Finding(Severity.NOTE, f"qcow2: Image is corrupt: {error}{SUPPRESSED}", count=0), 0
            for cluster in range(first, done):
                text = f"Can't get refcount for cluster {cluster}: Input/output error"
                yield Finding(Severity.NOTE, text, cluster << header.cluster_bits), 0
            continue
        if stored is None:
            yield from _compare_unstored(references, first, count)
        else:
            yield from _compare_stored(refcounts, references, first, stored[:count])
    yield from _compare_unstored(references, done, clusters - done)


def _compare_stored(
    refcounts: Refcounts, references: References, first: int, stored: bytes
) -> Iterator[tuple[Finding | None, int]]:
    tally = references.tally
    counted = tally.narrow(first, len(stored))
    used = max(len(stored.rstrip(b"\0")), len(counted.rstrip(b"\0")))
    yield None, first + used - 1 if used else 0
    for at in unequal(stored, counted):
        cluster = first + at
        yield _difference(references.header, cluster, refcounts[cluster], tally[cluster]), 0


def _compare_unstored(references: References, first: int, count: int) -> Iterator[tuple[Finding | None, int]]:
    tally = references.tally
    for start, some in tally.referenced(first, count):
        counted = tally.narrow(start, some)
        used = len(counted.rstrip(b"\0"))
        yield None, start + used - 1 if used else 0
        for at in unequal(bytes(some), counted):
            yield _difference(references.header, start + at, 0, tally[start + at]), 0


def _difference(header: Header, cluster: int, stored: int, counted: int) -> Finding | None:
    if stored == counted:
        return None
    severity, word = (Severity.CORRUPTION, "ERROR") if stored < counted else (Severity.LEAK, "Leaked")
    text = f"{word} cluster {cluster} refcount={stored} reference={counted}"
    return Finding(severity, text, cluster << header.cluster_bits, 1, True)


def _copied_flags(source: Source, header: Header, refcounts: Refcounts, references: References) -> Iterator[Finding]:
    """Findings for every COPIED flag of the active tables that does not say whether the refcount is 1."""
    doubtful = iter(references.doubtful)
    doubt = next(doubtful, -1)
    for index, count, entry in equal_runs(source, header.l1_table_offset, header.l1_size):
        table = entry & layout.OFFSET_MASK
        for number in range(index, index + count if table else index):
            try:
                refcount = refcounts[table >> header.cluster_bits]
            except UnreadableBlockError:
                continue
            if (refcount == 1) != bool(entry & layout.COPIED):
                text = f"ERROR OFLAG_COPIED L2 cluster: l1_index={number} l1_entry={entry:x} refcount={refcount}"
                yield Finding(Severity.CORRUPTION, text, header.l1_table_offset + 8 * number, 1, True)
            while 0 <= doubt < number:
                doubt = next(doubtful, -1)
            if doubt == number:
                yield from _copied_flags_of(source, header, refcounts, table)


def _copied_flags_of(source: Source, header: Header, refcounts: Refcounts, table: int) -> Iterator[Finding]:
    width = header.l2_entry_size
    entries = source.table(8, table, header.l2_entries * width // 8, pad=True)
    for index in range(0, len(entries), width // 8):
        entry = entries[index]
        if entry & layout.COMPRESSED or not is_allocated(header, entry):
            continue
        try:
            cluster = (entry & layout.OFFSET_MASK) >> header.cluster_bits
            refcount = 1 if header.data_file else refcounts[cluster]
        except UnreadableBlockError:
            continue
        if (refcount == 1) != bool(entry & layout.COPIED):
            text = f"ERROR OFLAG_COPIED data cluster: l2_entry={entry:x} refcount={refcount}"
            yield Finding(Severity.CORRUPTION, text, table + 8 * index, 1, True)
