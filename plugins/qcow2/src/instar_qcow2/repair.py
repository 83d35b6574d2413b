"""Mending an image in place, so that a stop at any point leaves it no worse. Source: docs/interop/qcow2.txt of QEMU.

First entries that say what cannot be are replaced by such as say the same to the guest; then refcounts become what was
counted: those that were too low before those that were too high, so that never something in use looks free; then the
COPIED flags; and last, if nothing wrong is left, the image is not marked as dirty or corrupt any more.
"""

from __future__ import annotations

from instar_core.errors import ErrorKind, FormatError
from instar_core.types import Barrier, Put, Severity
from instar_qcow2 import layout, limits
from instar_qcow2.bitmaps import bitmaps_of
from instar_qcow2.compare import Comparison
from instar_qcow2.copied import wrong_flags
from instar_qcow2.header import read_header
from instar_qcow2.rehead import rewriting
from instar_qcow2.released import Released, release_structures
from instar_qcow2.repair_overlaps import Overlaps
from instar_qcow2.repair_refcounts import Free, Rebuilt, recounted, room
from instar_qcow2.repair_snapshots import read_table, table_data
from instar_qcow2.shadow import KEPT, put_pieces
from instar_qcow2.survey import Survey, counted, mended

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from instar_core.source import Image, Source
    from instar_core.types import Edit, Finding, Repair
    from instar_qcow2.copied import Counts
    from instar_qcow2.header import Header
    from instar_qcow2.repair_snapshots import Table

ALL = "all"
INCOMPATIBLE = 72
"""Offset of incompatible_features."""


def repair(image: Image, request: Repair) -> Iterator[Edit]:
    """Leaked clusters are free (mode leaks), or nothing is wrong (all) but what no one can mend: content that cannot be
    read. What can be read is as before. Where refcounts are right then, so are the COPIED flags, as with qemu-img.

    Raises FormatError where a check would, and, for leaks alone, where the refcount structures themselves are broken.
    """
    source = image.main
    header = read_header(source, checking=True)
    bitmaps_of(source, header)
    everything = request.mode == ALL
    table = read_table(source, header, repairs=everything)
    if table.error is not None:
        raise table.error
    if everything:
        first, kept = counted(source, table.header, table.entries)
        if (
            first.broken
            or first.references.overflowed
            or any(True for _ in Comparison(first.refcounts, first.references).differences())
        ):
            moved = False
            for edit in Overlaps(source, table, first).separated():
                moved = True
                yield edit
            if moved:
                return  # everything is counted anew for the next plan
        survey, findings = mended(source, table.entries, first, kept)
    else:
        survey = Survey(source, table.header, table.entries)
        findings = survey.findings()
    outcome = Outcome(table.findings)
    yield from outcome.phase(_entries(survey, findings, outcome))
    comparison = Comparison(survey.refcounts, survey.references)
    differences = sum(1 for _ in comparison.findings())
    if not everything:
        if survey.broken or comparison.missing:
            raise FormatError("Input/output error", kind=ErrorKind.CORRUPT)
        outcome.wrong |= any(stored < counted for _, stored, counted in comparison.differences())
    moving = moving_tables(table, survey) if everything else {}
    anew = everything and (
        survey.broken or comparison.missing or table.anew or bool(moving) or structures_shared(survey)
    )
    released = Released(survey.references)
    if anew:
        release_structures(source, survey, released)
    if everything or not outcome.wrong:
        yield from outcome.phase(_flags(source, survey, released, clear=True))
    if anew:
        yield from outcome.phase(_anew(source, header, table, survey, released, moving))
    elif differences:
        bits = header.refcount_bits
        if everything:
            yield from outcome.phase(
                recounted(source, survey.refcounts, comparison, raises=True, lowers=False, bits=bits)
            )
        yield from outcome.phase(
            recounted(source, survey.refcounts, comparison, raises=everything, lowers=True, bits=bits)
        )
    if everything or not outcome.wrong:
        yield from outcome.phase(_flags(source, survey, released, clear=False))
    if not outcome.wrong:
        yield from outcome.phase(_sound(source, header))


def moving_tables(table: Table, survey: Survey) -> dict[int, int]:
    """The L1 tables that lie past the end of the file, or where something else lies too, by their offsets: bytes."""
    header, mending = survey.header, survey.references.mending
    tables = [(header.l1_table_offset, header.l1_size)]
    tables += [(entry.l1_table_offset, entry.l1_size) for entry in table.entries]
    offsets = [offset for offset, _ in tables]
    return {
        offset: 8 * size
        for offset, size in tables
        if 0 < 8 * size <= limits.L1_TABLE
        and not offset % header.cluster_size
        and not offset >> 62
        and (mending.far(offset, 8 * size) or shared(survey, offset, 8 * size, offsets.count(offset)))
    }


def structures_shared(survey: Survey) -> bool:
    """Whether something else lies where the refcount table is."""
    header = survey.header
    return shared(survey, header.refcount_table_offset, header.refcount_table_clusters << header.cluster_bits, 1)


def shared(survey: Survey, offset: int, length: int, references: int) -> bool:
    """Whether a cluster of these bytes is referred to more often than that."""
    if not length or survey.references.mending.far(offset, length):
        return False
    bits = survey.header.cluster_bits
    clusters = range(offset >> bits, (offset + length - 1 >> bits) + 1)
    return any(survey.references.tally[cluster] > references for cluster in clusters)


class Outcome:
    """Whether something stays `wrong`, and the division into phases."""

    __slots__ = ("wrong",)

    def __init__(self, findings: Iterable[Finding]) -> None:
        self.wrong = False
        for finding in findings:
            self.note(finding)

    def note(self, finding: Finding) -> None:
        """The finding counts."""
        if not finding.repairable and finding.severity in (Severity.CORRUPTION, Severity.NOTE) and finding.count:
            self.wrong = True

    def phase(self, edits: Iterator[Edit]) -> Iterator[Edit]:
        """The edits, and if there are any, a barrier."""
        edit = None
        for edit in edits:
            yield edit
        if edit is not None and not isinstance(edit, Barrier):
            yield Barrier()


def _entries(survey: Survey, findings: Iterator[Finding], outcome: Outcome) -> Iterator[Put]:
    """Table entries that are mended, each by itself the old or the new one."""
    patches = survey.references.patches
    for finding in findings:
        outcome.note(finding)
        yield from joined(patches)
        patches.clear()
    yield from joined(patches)
    patches.clear()


def joined(patches: list[tuple[int, bytes]]) -> Iterator[Put]:
    """Writes for words at ascending offsets; neighbours go together."""
    start, words = 0, b""
    for offset, word in patches:
        if words and offset == start + len(words):
            words += word
            continue
        if words:
            yield Put(start, words)
        start, words = offset, word
    if words:
        yield Put(start, words)


def _anew(
    source: Source, header: Header, table: Table, survey: Survey, released: Released, moving: Mapping[int, int]
) -> Iterator[Edit]:
    """The refcount structures lie at new places, and so do the snapshot table, if it has to, and the L1 tables in
    `moving`, by one write of the header."""
    free = Free(survey.references)
    bits = header.cluster_bits
    for offset, size in moving.items():
        released.add(offset, size)
    places = {offset: free.take(-(-size >> bits)) << bits for offset, size in moving.items()}
    snapshots = (header.nb_snapshots, header.snapshots_offset)
    data = b""
    if table.anew or any(entry.l1_table_offset in places for entry in table.entries):
        last = table.entries[-1] if table.entries else None
        end = last.offset + last.length if last else header.snapshots_offset
        released.add(header.snapshots_offset, end - header.snapshots_offset)
        data = table_data(source, table, places)
        snapshots = (len(table.entries), free.take(-(-len(data) >> bits)) << bits if data else 0)
    rebuilt = Rebuilt(survey, free, released)
    yield from room(source, survey, free)
    for offset, place in places.items():
        yield from put_pieces(place, source.read(offset, moving[offset], pad=True))
    yield from put_pieces(snapshots[1], data)
    yield from rebuilt.puts()
    fields = {
        "l1_table_offset": places.get(header.l1_table_offset, header.l1_table_offset),
        "refcount_table_offset": rebuilt.table_offset,
        "refcount_table_clusters": rebuilt.table_clusters,
        "nb_snapshots": snapshots[0],
        "snapshots_offset": snapshots[1],
        "autoclear_features": header.autoclear_features & KEPT,
    }
    yield from rewriting(source, header, fields=fields).edits()


def _flags(source: Source, survey: Survey, counts: Counts, *, clear: bool) -> Iterator[Put]:
    """COPIED flags that are set where they may not be, or are not set where they should."""
    words: list[tuple[int, bytes]] = []
    for flag in wrong_flags(source, survey.header, counts, None, survey.references):
        if not flag.again and bool(flag.entry & layout.COPIED) == clear:
            if words and flag.place != words[-1][0] + 8:
                yield from joined(words)
                words.clear()
            words.append((flag.place, (flag.entry ^ layout.COPIED).to_bytes(8, "big")))
            if len(words) >= 1 << 16:
                yield from joined(words)
                words.clear()
    yield from joined(words)


def _sound(source: Source, header: Header) -> Iterator[Put]:
    """The image is marked neither as dirty nor as corrupt."""
    marks = layout.INCOMPAT_DIRTY | layout.INCOMPAT_CORRUPT
    if header.version >= 3 and header.incompatible_features & marks:
        yield Put(INCOMPATIBLE, (header.incompatible_features & ~marks).to_bytes(8, "big"))
