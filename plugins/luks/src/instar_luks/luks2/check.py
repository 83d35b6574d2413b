"""What is wrong with a LUKS2 header: its two copies, and the areas that its metadata name."""

from __future__ import annotations

from instar_core.errors import FormatError
from instar_core.types import Finding, Severity
from instar_luks.luks2.layout import ALIGNMENT, BINARY_SIZE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from instar_luks.luks2.copies import Copy, Pair
    from instar_luks.luks2.metadata import Metadata


def copy_findings(pair: Pair) -> Iterator[Finding]:
    """What is wrong with a copy, which is mended from the other one.

    A copy that is damaged or older is what a change leaves that was cut short: nothing is lost by it.
    """
    used, severity = pair.used, Severity.LEAK if pair.behind else Severity.CORRUPTION
    for name, copy in (("first", pair.first), ("second", pair.second)):
        if copy is used:
            continue
        if isinstance(copy, FormatError):
            text = f"{name} copy of the header: {copy.message}"
        elif copy.seqid != used.seqid:
            text = f"{name} copy of the header is of another time (sequence id {copy.seqid}, not {used.seqid})"
        elif copy._replace(offset=used.offset) != used:
            text = f"ERROR {name} copy of the header differs from the other one"
        else:
            continue
        yield Finding(severity, text, repairable=True)


def metadata_findings(copy: Copy, found: Metadata, payload: int | None) -> Iterator[Finding]:
    """What is wrong with the areas; `payload` is where the payload begins in the same file."""
    config = copy.json["config"]
    if config.get("json_size") != str(copy.size - BINARY_SIZE):
        yield _corruption("the metadata do not say how large their area is")
    first, end = 2 * copy.size, 2 * copy.size + found.keyslots_size
    if payload is not None and end > payload:
        yield _corruption("the keyslots area overlaps the encrypted payload")
    before, owner = 0, -1
    for offset, length, number in sorted([(s.offset, s.length, number) for number, s in found.slots.items()]):
        if offset < first or offset + length > end:
            yield _corruption(f"keyslot {number} lies outside of the keyslots area")
        if offset % ALIGNMENT or length % ALIGNMENT:
            yield _corruption(f"keyslot {number} does not lie on a boundary of {ALIGNMENT} bytes")
        if offset < before:
            yield _corruption(f"keyslots {owner} and {number} overlap")
        if offset + length > before:
            before, owner = offset + length, number


def _corruption(text: str) -> Finding:
    return Finding(Severity.CORRUPTION, f"ERROR {text}")
