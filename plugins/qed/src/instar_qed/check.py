"""Checking the structure of a QED image: what counts, counts as in qemu-img, which finds the same without a word."""

from __future__ import annotations

from instar_core.types import Finding, Severity, Tally
from instar_qed import layout
from instar_qed.header import read_header
from instar_qed.repair import freeing
from instar_qed.walk import Misplaced, Walk

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from instar_core.source import Image
    from instar_qed.header import Header
    from instar_qed.walk import Shared


def findings(image: Image) -> Iterator[Finding | Tally]:
    """Every finding, then the Tally. Raises FormatError (LIMIT) for what is too large to be checked."""
    header = read_header(image.main)
    walk = Walk(image.main, header)
    unmendable = faulty = False
    for fault in walk.faults():
        faulty = True
        unmendable |= not isinstance(fault, Misplaced)
        yield _corruption(header, fault)
    left = unmendable or (faulty and image.options.get("repair") == "leaks")
    freed = not left and freeing(image.main, header, walk, faulty=faulty) is not None
    for first, count in walk.leaks():
        which = f"Leaked cluster {first}" if count == 1 else f"Leaked clusters {first} to {first + count - 1}"
        yield Finding(Severity.LEAK, which, first * header.cluster_size, count, freed)
    if header.features & layout.NEED_CHECK:
        yield Finding(
            Severity.NOTE, "The image was not closed: it needs a check", layout.FEATURES_OFFSET, 1, not unmendable
        )
    if header.autoclear_features:
        yield Finding(
            Severity.NOTE, f"Unknown autoclear features: {header.autoclear_features:x}", layout.AUTOCLEAR_OFFSET
        )
    yield Tally(
        total=-(-header.image_size // header.cluster_size), allocated=walk.allocated, fragmented=walk.fragmented
    )


def _corruption(header: Header, fault: Misplaced | Shared) -> Finding:
    if isinstance(fault, Misplaced):
        what = "L2 table" if fault.table else "data cluster"
        more = f" and {fault.entries - 1} more" if fault.entries > 1 else ""
        text = f"ERROR {what} offset {fault.first:#x}{more} is not that of a cluster of the file"
        return Finding(Severity.CORRUPTION, text, fault.offset, fault.entries, True)
    if fault.clusters > 1:
        text = f"ERROR clusters {fault.first} to {fault.first + fault.clusters - 1} are referenced more than once"
    else:
        text = f"ERROR cluster {fault.first} is referenced more than once"
    return Finding(Severity.CORRUPTION, text, fault.offset, fault.clusters * fault.times)
