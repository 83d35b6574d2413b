"""Where the content of a VHDX image lies."""

from __future__ import annotations

from instar_core.errors import ErrorKind, FormatError
from instar_core.types import NOWHERE, Extent, Kind, LayerKind
from instar_vhdx.bat import bitmap_entry, entries
from instar_vhdx.bitmap import runs
from instar_vhdx.layout import BITMAP_PRESENT, MIB, OFFSET, SECTOR, STATE, Payload
from instar_vhdx.opening import Disk, open_disk

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from instar_core.source import Image
    from instar_core.types import Layer, Span

ZEROS = (Payload.UNDEFINED, Payload.ZERO, Payload.UNMAPPED)


def extents(image: Image, layer: Layer, span: Span) -> Iterator[Extent]:
    """Extents that cover `span` exactly, neighbours joined.

    Raises FormatError for another layer, for states that do not exist, for content past the end of the file, and
    where the log, not yet replayed, holds content.
    """
    if layer.kind != LayerKind.ACTIVE:
        raise FormatError("a VHDX image has neither snapshots nor bitmaps", kind=ErrorKind.UNSUPPORTED)
    disk = open_disk(image)
    last: Extent | None = None
    for made in _extents(disk, span.start, span.start + span.length):
        if last is not None:
            if last.kind == made.kind and (last.kind != Kind.DATA or last.offset + last.length == made.offset):
                last = last._replace(length=last.length + made.length)
                continue
            yield last
        last = made
    if last is not None:
        yield last


def _extents(disk: Disk, low: int, high: int) -> Iterator[Extent]:
    size = disk.metadata.block
    if low >= high:
        return
    for block, count, entry, step in entries(disk, low // size, -(-high // size)):
        state = entry & STATE
        start, stop = max(low, block * size), min(high, (block + count) * size)
        if state == Payload.NOT_PRESENT:
            yield Extent(start, stop - start, Kind.ABSENT, 0, NOWHERE, 0, 0, 0, 0)
        elif state in ZEROS:
            yield Extent(start, stop - start, Kind.ZERO, 0, NOWHERE, 0, 0, 0, 0)
        elif state == Payload.FULLY_PRESENT and (step or count == 1):
            offset = (entry & OFFSET) + start - block * size
            _inside(disk, block, start, offset, stop - start)
            yield Extent(start, stop - start, Kind.DATA, 0, offset, 0, 0, 0, 0)
        else:
            for number in range(block, block + count):
                start, stop = max(low, number * size), min(high, (number + 1) * size)
                offset = (entry & OFFSET) + (number - block) * step + start - number * size
                yield from _single(disk, number, state, start, stop, offset)


def _single(disk: Disk, block: int, state: int, start: int, stop: int, offset: int) -> Iterator[Extent]:
    """One block that is there as a whole or in part, from `start` to `stop`."""
    if state == Payload.FULLY_PRESENT:
        _inside(disk, block, start, offset, stop - start)
        yield Extent(start, stop - start, Kind.DATA, 0, offset, 0, 0, 0, 0)
        return
    if state != Payload.PARTIALLY_PRESENT or not disk.metadata.parent:
        raise FormatError(f"VHDX BAT entry {block} has state {state}, which it cannot have", kind=ErrorKind.CORRUPT)
    sector = disk.metadata.logical
    bitmap = bitmap_entry(disk, block // disk.ratio)
    if bitmap & STATE != BITMAP_PRESENT or bitmap & OFFSET < MIB:
        raise FormatError(
            f"VHDX block {block} is partially present, but its sector bitmap is not", kind=ErrorKind.CORRUPT
        )
    base = block // disk.ratio * disk.ratio * disk.metadata.block
    first, end = (start - base) // sector, -(-(stop - base) // sector)
    data = disk.source.read((bitmap & OFFSET) + first // 8, -(-end // 8) - first // 8)
    at = base + first * sector
    for count, present in runs(data, first % 8, end - first):
        low, high = max(at, start), min(at + count * sector, stop)
        place = offset + low - start
        if present:
            _inside(disk, block, low, place, high - low)
            yield Extent(low, high - low, Kind.DATA, 0, place, 0, 0, 0, 0)
        else:
            yield Extent(low, high - low, Kind.ABSENT, 0, NOWHERE, 0, 0, 0, 0)
        at += count * sector


def _inside(disk: Disk, block: int, start: int, offset: int, length: int) -> None:
    """Raises FormatError for content that the file does not hold, that is metadata, or that the log will change.

    `block` is the first of a run, `start` where on the disk the content at `offset` belongs.
    """
    end = -(-disk.source.size // SECTOR) * SECTOR
    if offset + length > end:
        size = disk.metadata.block
        lost = max(end, offset)
        number = (start + lost - offset) // size
        begin = offset - start + number * size
        raise FormatError(beyond(number, begin, disk, end), kind=ErrorKind.OUT_OF_BOUNDS, offset=begin)
    if offset < MIB:
        raise FormatError(f"VHDX BAT entry {block} lies in the headers", kind=ErrorKind.CORRUPT, offset=offset)
    for first, last in disk.taken:
        if offset < last and first < offset + length:
            raise FormatError(
                f"VHDX region {offset}-{offset + length} overlaps with region {first}-{last}",
                kind=ErrorKind.CORRUPT,
                offset=offset,
            )
    if disk.overlay is not None and disk.overlay.touches(offset, length):
        raise FormatError(
            "the log of the image holds content of its disk: check -r all has to replay it first",
            kind=ErrorKind.UNSUPPORTED,
            offset=offset,
        )


def beyond(block: int, place: int, disk: Disk, end: int) -> str:
    """In qemu's words, that the block at `place` is not inside the file, which ends at `end`."""
    which, what = "start", place
    if place < end:
        which, what = "end", place + used(disk, block) - 1
    return (
        f"VHDX BAT entry {block} {which} offset {what} points after end of file ({end}). "
        "Image has probably been truncated."
    )


def used(disk: Disk, block: int) -> int:
    """Bytes of a block that belong to the disk."""
    return min(disk.metadata.block, disk.metadata.size - block * disk.metadata.block)
