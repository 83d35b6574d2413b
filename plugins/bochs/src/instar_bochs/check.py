"""Checking the structure of a growing disk; qemu-img has no check for it."""

from __future__ import annotations

from instar_bochs import layout
from instar_bochs.catalog import entries
from instar_bochs.header import read_header
from instar_core.errors import ErrorKind, FormatError
from instar_core.tally import ReferenceTally
from instar_core.types import Finding, Severity, Tally

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from instar_bochs.header import Header
    from instar_core.source import Image, Source


def findings(image: Image) -> Iterator[Finding | Tally]:
    """Every finding, then the Tally, which counts extents.

    Extents that are not wholly in the file, or that two entries of the catalog name, are corruptions; those of the
    file that no entry names are leaks. Raises FormatError where the bitmaps are too small to tell anything.
    """
    source = image.main
    header = read_header(source)
    if header.blocked:
        raise FormatError(header.blocked, kind=ErrorKind.CORRUPT, offset=76)
    yield from _header_notes(source, header)
    tally = ReferenceTally(1)
    allocated = fragmented = 0
    behind = -1
    whole = max(0, (source.size - header.data_offset) // header.stride)
    for index, count, entry, step in entries(source, header, 0, header.catalog):
        if entry == layout.UNALLOCATED:
            continue
        if index >= header.extents:
            yield _note(f"Catalog entries {index} to {index + count - 1} are past the end of the disk", header, index)
        allocated += count
        fragmented += (behind >= 0 and entry != behind) + (0 if step else count - 1)
        behind = entry + step * (count - 1) + 1
        inside = min(count, max(0, whole - entry)) if step else count * (entry < whole)
        if inside < count:
            text = f"ERROR extent {entry + step * inside} is not inside the file"
            where = header.header + layout.ENTRY * (index + inside)
            yield Finding(Severity.CORRUPTION, text, where, count - inside)
        if inside:
            again = tally.add(entry, inside if step else 1)
            shared = len(again) + (0 if step else inside - 1)
            if shared:
                text = f"ERROR extent {again[0] if again else entry} is referenced more than once"
                yield Finding(Severity.CORRUPTION, text, header.header + layout.ENTRY * index, shared)
            for number in range(inside):
                yield from _bitmap_notes(source, header, index + number, entry + step * number)
    yield from _leaks(header, tally, whole)
    yield Tally(total=header.extents, allocated=allocated, fragmented=fragmented)


def _header_notes(source: Source, header: Header) -> Iterator[Finding]:
    if header.header != layout.HEADER_SIZE:
        yield Finding(Severity.NOTE, f"The header says that it has {header.header} bytes", 68)
    rest = source.size - header.data_offset
    if rest > 0 and rest % header.stride:
        where = source.size - rest % header.stride
        yield Finding(Severity.NOTE, f"{rest % header.stride} bytes after the last extent belong to nothing", where)


def _bitmap_notes(source: Source, header: Header, index: int, extent: int) -> Iterator[Finding]:
    """A bit for a sector that is not, because the extent or the disk ends before."""
    place = header.data_offset + extent * header.stride
    sectors = max(0, min(header.extent, header.disk - index * header.extent)) // layout.SECTOR
    # Of a bitmap that is far larger than it need be, a sector more is looked at.
    length = min(header.bitmap_bytes, -(-header.extent // layout.SECTOR // 8) + layout.SECTOR)
    bits = int.from_bytes(source.read(place, length), "little")
    if bits >> sectors:
        yield Finding(Severity.NOTE, f"The bitmap of extent {extent} has bits for sectors that are not", place)


def _leaks(header: Header, tally: ReferenceTally, whole: int) -> Iterator[Finding]:
    at = 0
    for first, count in tally.referenced(0, whole):
        counts = tally.narrow(first, count)
        used = counts.find(1)
        while used >= 0:
            if first + used > at:
                yield _leaked(header, at, first + used - at)
            unused = counts.find(0, used)
            at = first + (unused if unused >= 0 else count)
            used = counts.find(1, unused) if unused >= 0 else -1
    if whole > at:
        yield _leaked(header, at, whole - at)


def _leaked(header: Header, first: int, count: int) -> Finding:
    text = f"Leaked extent {first}" if count == 1 else f"Leaked extents {first} to {first + count - 1}"
    return Finding(Severity.LEAK, text, header.data_offset + first * header.stride, count)


def _note(text: str, header: Header, index: int) -> Finding:
    return Finding(Severity.NOTE, text, header.header + layout.ENTRY * index)
