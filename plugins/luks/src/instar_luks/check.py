"""What is wrong with the header of a volume and its key slots; the content is not looked at, for it needs a key."""

from __future__ import annotations

from instar_core.luks1.header import Header
from instar_core.types import Finding, Severity, Tally
from instar_luks.luks2 import copies
from instar_luks.luks2.check import copy_findings, metadata_findings
from instar_luks.luks2.metadata import LUKS2
from instar_luks.volume import detached, open_volume

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from instar_core.source import Image, Source
    from instar_luks.luks2.metadata import Metadata

GLANCE = 4096
"""Bytes at the start of key material that are looked at."""


def findings(image: Image) -> Iterator[Finding | Tally]:
    """Every finding, and last a tally. Raises FormatError where there is no header that can be read."""
    volume = open_volume(image)
    if isinstance(volume.header, Header):
        places = _active(volume.header)
    else:
        pair = copies.read(volume.source)
        yield from copy_findings(pair)
        end = None if detached(image) else volume.offset
        yield from metadata_findings(pair.used, volume.header, end)
        places = _areas(volume.header)
    if not places:
        yield Finding(Severity.NOTE, "no keyslot is active: nothing can open the volume")
    for number, (offset, length) in places.items():
        yield from _material(volume.source, number, offset, length)
    yield Tally()


def _active(header: Header) -> dict[int, tuple[int, int]]:
    return {n: (slot.offset, header.material_size) for n, slot in enumerate(header.slots) if slot.active}


def _areas(found: Metadata) -> dict[int, tuple[int, int]]:
    return {number: (slot.offset, slot.length) for number, slot in found.slots.items() if slot.kind == LUKS2}


def _material(source: Source, number: int, offset: int, length: int) -> Iterator[Finding]:
    """Findings about the key material of one active key slot."""
    if offset + length > source.size:
        text = f"ERROR keyslot {number}: its key material goes on past the end of the file"
        yield Finding(Severity.CORRUPTION, text, offset)
    elif not source.read(offset, min(length, GLANCE)).strip(b"\0"):
        yield Finding(Severity.CORRUPTION, f"ERROR keyslot {number}: its key material is zeros", offset)
