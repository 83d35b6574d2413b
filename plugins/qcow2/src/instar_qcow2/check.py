"""Whether an image's metadata is consistent: every reference is counted anew and compared with the stored refcounts.

Findings come in qemu-img's order and words; those that a repair mends too, if the image is opened for one (its option
repair: leaks or all). Source: docs/interop/qcow2.txt of QEMU.
"""

from __future__ import annotations

from instar_core.errors import ErrorKind, FormatError
from instar_core.types import Finding, Severity, Tally
from instar_qcow2 import limits
from instar_qcow2.bitmaps import bitmaps_of
from instar_qcow2.compare import Comparison, difference, remark
from instar_qcow2.copied import Counted, wrong_flags
from instar_qcow2.header import read_header
from instar_qcow2.refcounts import UnreadableBlockError
from instar_qcow2.released import Released, release_structures
from instar_qcow2.repair_snapshots import read_table
from instar_qcow2.survey import Survey, counted, mended

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from instar_core.source import Image, Source
    from instar_qcow2.copied import Counts

LEAKS, ALL = "leaks", "all"


def check(image: Image) -> Iterator[Finding | Tally]:
    """Every finding, then one Tally. Raises FormatError where qemu-img gives up, or could not open the image."""
    source = image.main
    mode = image.options.get("repair")
    header = read_header(source, checking=True)
    bitmaps_of(source, header)
    table = read_table(source, header, repairs=mode == ALL)
    yield from table.findings
    if table.error is not None:
        raise table.error
    if -(-source.size >> header.cluster_bits) > limits.CLUSTERS:
        raise FormatError("File too large", kind=ErrorKind.LIMIT)
    seen = Seen()
    if mode == ALL:
        survey, findings = mended(source, table.entries, *counted(source, table.header, table.entries))
    else:
        survey = Survey(source, table.header, table.entries)
        findings = survey.findings()
    for finding in findings:
        survey.references.patches.clear()
        yield seen(finding)
    references = survey.references
    comparison = Comparison(survey.refcounts, references)
    for finding in comparison.findings():
        if finding.severity == Severity.NOTE:
            if not seen.errors:
                yield from _remark(survey, repairs=bool(mode))
            seen.errors += 1
        yield seen(finding)
    rebuilt = survey.broken or comparison.missing
    counts: Counts = survey.refcounts
    if mode == ALL and rebuilt:
        counts = released = Released(references)
        release_structures(source, survey, released)
        yield Finding(Severity.NOTE, "Rebuilding refcount structure", count=0)
        for cluster, less in released:
            before = references.tally[cluster]
            yield Finding(Severity.NOTE, difference("Repairing", cluster, before, before - less), count=0)
    elif mode and rebuilt:
        yield Finding(Severity.NOTE, "ERROR need to rebuild refcount structures", count=0)
        raise FormatError("Input/output error", kind=ErrorKind.CORRUPT)
    elif mode:
        counts = Counted(references.tally, survey.refcounts if mode == LEAKS and seen.corrupt else None)
        yield from _recounting(mode, comparison)
    mends = mode == ALL or (mode == LEAKS and not (seen.errors or seen.corrupt))
    yield from _copied_flags(source, survey, counts, everywhere=bool(mode), mends=mends)
    yield Tally(
        total=-(-header.disk_size >> header.cluster_bits),
        allocated=references.allocated,
        fragmented=references.fragmented,
        compressed=references.compressed,
        end=comparison.highest + 1 << header.cluster_bits,
        errors=0 if mode == ALL and rebuilt else seen.errors,
    )


class Seen:
    """What was found so far: how many refcounts could not be read, and whether there are corruptions and leaks."""

    __slots__ = ("corrupt", "errors", "leaks")

    def __init__(self) -> None:
        self.errors = 0
        self.corrupt = False
        self.leaks = False

    def __call__(self, finding: Finding) -> Finding:
        """The same finding."""
        self.corrupt |= finding.severity == Severity.CORRUPTION
        self.leaks |= finding.severity == Severity.LEAK
        return finding


def _remark(survey: Survey, *, repairs: bool) -> Iterator[Finding]:
    for index in range(survey.refcounts.entries):
        try:
            survey.refcounts.block(index)
        except UnreadableBlockError as error:
            if error.unaligned:
                yield remark(error, repairs=repairs)
                return


def _recounting(mode: str, comparison: Comparison) -> Iterator[Finding]:
    for cluster, stored, references in comparison.differences():
        if stored >= 0:
            word = "Repairing" if stored > references or mode == ALL else "ERROR"
            yield Finding(Severity.NOTE, difference(word, cluster, stored, references), count=0)


def _copied_flags(
    source: Source, survey: Survey, counts: Counts, *, everywhere: bool, mends: bool
) -> Iterator[Finding]:
    """Findings for every COPIED flag of the active tables that does not say whether the refcount is 1; while repairing,
    whether it will be."""
    references = survey.references
    wrong = wrong_flags(source, survey.header, counts, None if everywhere else references.doubtful, references)
    word = "Repairing" if mends else "ERROR"
    for flag in wrong:
        if flag.again:
            text = f"{word} the {flag.again} COPIED flags of the L2 table at 0x{flag.place:x} once more"
            yield Finding(Severity.CORRUPTION, f"{text}, for L1 entry {flag.l1_index}", flag.place, flag.again, True)
            continue
        if flag.l1_index >= 0:
            text = f"L2 cluster: l1_index={flag.l1_index} l1_entry={flag.entry:x} refcount={flag.refcount}"
        else:
            text = f"data cluster: l2_entry={flag.entry:x} refcount={flag.refcount}"
        yield Finding(Severity.CORRUPTION, f"{word} OFLAG_COPIED {text}", flag.place, 1, True)
