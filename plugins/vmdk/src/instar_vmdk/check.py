"""Checking the structure of a VMDK image.

qemu-img looks for one thing only, a grain that begins past the end of its file, and ends the check there with an error.
Here that is a corruption, after which the check fails in the same way. Tables outside the file are one too: all that
they would lead to is lost. Everything else that is found is a note.
"""

from __future__ import annotations

from instar_core.errors import ErrorKind, FormatError
from instar_core.ranges import Ranges
from instar_core.types import Finding, Kind, Severity, Tally
from instar_vmdk import limits
from instar_vmdk.checkheader import header_notes
from instar_vmdk.checktables import table_findings
from instar_vmdk.grains import grains
from instar_vmdk.layout import MARKER, NO_PARENT, SECTOR, Part, Sparse
from instar_vmdk.map import stream_at
from instar_vmdk.opening import Disk, open_disk
from instar_vmdk.slack import mendable, unused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from instar_core.source import Image, Source


def findings(image: Image) -> Iterator[Finding | Tally]:
    """Every finding, then a Tally without counts, as qemu-img has none for this format.

    Raises FormatError (CORRUPT, "Invalid argument") at the end, in place of the Tally, where grains lie past the end of
    their file; not if the option `repair` says that all is to be mended, and some of that can be.
    """
    disk = open_disk(image)
    mending = False
    yield from _descriptor_notes(disk)
    beyond = False
    for part in disk.parts:
        if part.type == "ZERO":
            continue
        if part.device >= len(image.devices):
            yield _note(f"The extent at sector {part.start // SECTOR} is missing")
            continue
        source = image.devices[part.device]
        if part.length != part.declared:
            yield _note(
                f"The extent at sector {part.start // SECTOR} has {part.length // SECTOR} sectors, "
                f"but the descriptor says {part.declared // SECTOR}"
            )
        if part.sparse is None:
            if part.offset + part.length > source.size:
                yield _note(f"The file of the extent at sector {part.start // SECTOR} ends before the extent")
            continue
        writable = mendable(source, part)
        yield from header_notes(source, part, writable=writable)
        mended = yield from table_findings(source, part.sparse, writable=writable)
        mending |= bool(mended) and image.options.get("repair") == "all"
        for found in _grains(source, part, part.sparse, mended):
            beyond |= found.severity == Severity.CORRUPTION
            yield found
        slack = unused(source, part) if writable else 0
        if slack:
            text = f"{slack} bytes at the end of the extent at sector {part.start // SECTOR} are not in use"
            yield Finding(Severity.NOTE, text, offset=source.size - slack, repairable=True)
    if beyond and not mending:
        raise FormatError("Invalid argument", kind=ErrorKind.CORRUPT)
    yield Tally()


def _descriptor_notes(disk: Disk) -> Iterator[Finding]:
    shown = disk.descriptor
    if shown.create_type is None:
        yield _note("There is no descriptor")
    elif shown.create_type != disk.create_type:
        yield _note(f"The descriptor says {shown.create_type}, the header {disk.create_type}")
    if shown.repeated:
        yield _note("A blank line before the line of an extent makes that extent count once more", count=shown.repeated)
    if bool(shown.hint) != (shown.parent_cid != NO_PARENT):
        yield _note("parentCID and parentFileNameHint contradict each other")


def _grains(source: Source, part: Part, sparse: Sparse, mended: int) -> Iterator[Finding]:
    """Grains past the end of the file (of which `mended` can be), in its metadata, over one another, or with a wrong
    marker."""
    total = -(-sparse.capacity // sparse.grain)
    used = Ranges(limits.CHECK_RUNS)
    beyond = 0
    first = 0
    for grain, count, kind, offset in grains(source, sparse, 0, total):
        if kind != Kind.DATA:
            continue
        sector = (part.start + grain * sparse.grain) // SECTOR
        inside = min(count, max(0, -(-(source.size - offset) // sparse.grain)))
        if inside < count:
            first = first if beyond else sector + inside * sparse.grain // SECTOR
            beyond += count - inside
        if not inside:
            continue
        if offset < sparse.overhead:
            yield _note(f"The grain for sector {sector} lies in the metadata", offset=offset)
        if not sparse.compressed:
            used.add(offset, inside * sparse.grain)
            continue
        for index in range(inside):
            here = offset + index * sparse.grain
            notes, length = _piece(source, sparse, here, (grain + index) * sparse.grain // SECTOR)
            yield from notes
            used.add(here, length)
    if beyond:
        text = f"ERROR: cluster offset for sector {first} points after EOF"
        yield Finding(Severity.CORRUPTION, text, count=beyond, repairable=mended >= beyond)
    if used.full:
        yield _note("The extent is too fragmented to look for grains that overlap")
    else:
        for offset in used.overlaps():
            yield _note("Two grains share a place in the file", offset=offset)


def _piece(source: Source, sparse: Sparse, offset: int, sector: int) -> tuple[list[Finding], int]:
    """What is odd about a compressed grain, and how many bytes it takes at least."""
    if not sparse.marked:
        return [], SECTOR
    try:
        place, stored = stream_at(source, sparse, offset)
    except FormatError as error:
        return [_note(error.message, offset=offset)], SECTOR
    notes = []
    if place + stored > source.size:
        notes.append(_note(f"The compressed grain for sector {sector} is not inside the file", offset=offset))
    said, _ = source.unpack(MARKER, offset, pad=True)
    if said != sector:
        notes.append(
            _note(f"The compressed grain for sector {sector} says that it is for sector {said}", offset=offset)
        )
    return notes, -(-(MARKER.size + stored) // SECTOR) * SECTOR


def _note(text: str, *, offset: int = -1, count: int = 1) -> Finding:
    return Finding(Severity.NOTE, text, offset=offset, count=count)
