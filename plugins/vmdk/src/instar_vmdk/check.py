"""Checking the structure of a VMDK image.

qemu-img looks for one thing only, a grain that begins past the end of its file, and ends the check there with an error.
Here that is a corruption, after which the check fails in the same way; everything else that is found is a note.
"""

from __future__ import annotations

from instar_core.errors import ErrorKind, FormatError
from instar_core.ranges import Ranges
from instar_core.types import Finding, Kind, Severity, Tally
from instar_vmdk import limits
from instar_vmdk.checkheader import header_notes
from instar_vmdk.grains import grains, tables
from instar_vmdk.layout import MARKER, NO_PARENT, SECTOR, Part, Sparse
from instar_vmdk.map import stream_at
from instar_vmdk.opening import Disk, open_disk

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from instar_core.source import Image, Source


def findings(image: Image) -> Iterator[Finding | Tally]:
    """Every finding, then a Tally without counts, as qemu-img has none for this format.

    Raises FormatError (CORRUPT, "Invalid argument") at the end, in place of the Tally, where grains lie past the end of
    their file.
    """
    disk = open_disk(image)
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
        yield from header_notes(source, part)
        yield from _directory_notes(source, part.sparse)
        for found in _grains(source, part, part.sparse):
            beyond |= found.severity == Severity.CORRUPTION
            yield found
    if beyond:
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


def _directory_notes(source: Source, sparse: Sparse) -> Iterator[Finding]:
    """Grain tables past the end of the file, and what the redundant ones say otherwise."""
    size = sparse.per_table * sparse.width
    for table, count, offset in tables(source, sparse, sparse.directory, 0, sparse.entries):
        inside = max(0, (source.size - offset) // size)
        if offset > 0 and inside < count:
            yield _note(f"Grain table {table + inside} is not inside the file", offset=offset, count=count - inside)
    if not sparse.redundant:
        return
    pairs = _aligned(
        tables(source, sparse, sparse.directory, 0, sparse.entries),
        tables(source, sparse, sparse.redundant, 0, sparse.entries),
        size,
    )
    piece = max(1, limits.TABLE_PIECE // sparse.per_table)
    for table, count, primary, redundant in pairs:
        if primary == redundant:
            continue
        if primary <= 0 or redundant <= 0:
            yield _note(f"Grain table {table} exists in one grain directory only", count=count)
            continue
        for at in range(0, count, piece):
            length = min(piece, count - at) * size
            one = source.read(primary + at * size, length, pad=True)
            if one != source.read(redundant + at * size, length, pad=True):
                yield _note(f"Grain table {table + at} and its redundant copy differ", offset=primary + at * size)


def _aligned(
    one: Iterator[tuple[int, int, int]], other: Iterator[tuple[int, int, int]], size: int
) -> Iterator[tuple[int, int, int, int]]:
    """Two walks over the same tables as one, cut where either is cut; places are those of the first table of each."""
    left, right = next(one, None), next(other, None)
    while left is not None and right is not None:
        table = max(left[0], right[0])
        count = min(left[0] + left[1], right[0] + right[1]) - table
        yield table, count, _place(left, table, size), _place(right, table, size)
        end = table + count
        left = next(one, None) if left[0] + left[1] == end else left
        right = next(other, None) if right[0] + right[1] == end else right


def _place(walked: tuple[int, int, int], table: int, size: int) -> int:
    """Where `table` lies, given a walk's run of tables end to end."""
    return walked[2] + (table - walked[0]) * size if walked[2] > 0 else walked[2]


def _grains(source: Source, part: Part, sparse: Sparse) -> Iterator[Finding]:
    """Grains past the end of the file, in its metadata, over one another, or with a wrong marker."""
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
        yield Finding(Severity.CORRUPTION, f"ERROR: cluster offset for sector {first} points after EOF", count=beyond)
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
