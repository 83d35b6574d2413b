"""Where the content of a VHD image lies."""

from __future__ import annotations

from instar_core.errors import ErrorKind, FormatError
from instar_core.types import NOWHERE, Extent, Flag, Kind, LayerKind
from instar_vpc.blocks import blocks
from instar_vpc.info import TYPES
from instar_vpc.layout import SECTOR
from instar_vpc.opening import open_disk

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from instar_core.source import Image, Source
    from instar_core.types import Layer, Span
    from instar_vpc.layout import Header
    from instar_vpc.opening import Disk


def extents(image: Image, layer: Layer, span: Span) -> Iterator[Extent]:
    """Extents that cover `span` exactly, neighbours joined. Raises FormatError for another layer or disk type."""
    if layer.kind != LayerKind.ACTIVE:
        raise FormatError("a VHD image has neither snapshots nor bitmaps", kind=ErrorKind.UNSUPPORTED)
    disk = open_disk(image)
    if disk.footer.disk_type not in TYPES:
        raise FormatError(f"disk type {disk.footer.disk_type} is not known", kind=ErrorKind.UNSUPPORTED)
    if not span.length:
        return
    if disk.header is None:
        yield Extent(span.start, span.length, Kind.DATA, 0, span.start, flags=Flag.REFINE)
        return
    last: Extent | None = None
    for made in _pieces(image.main, disk, disk.header, span.start, span.start + span.length):
        if last is not None:
            if last.kind == made.kind and (made.kind != Kind.DATA or last.offset + last.length == made.offset):
                last = last._replace(length=last.length + made.length)
                continue
            yield last
        last = made
    if last is not None:
        yield last


def _pieces(source: Source, disk: Disk, header: Header, low: int, high: int) -> Iterator[Extent]:
    size, bitmap = header.block_size, disk.bitmap
    stride = size + bitmap
    lacking = Kind.ABSENT if disk.differencing else Kind.ZERO
    for number, count, offset in blocks(source, header.table_offset, stride, low // size, -(-high // size)):
        if offset is None:
            start, stop = max(low, number * size), min(high, (number + count) * size)
            yield Extent(start, stop - start, lacking, 0, NOWHERE, 0, 0, 0, 0)
            continue
        for each in range(count):
            base = (number + each) * size
            start, stop = max(low, base), min(high, base + size)
            place = offset + each * stride
            if disk.differencing:
                yield from _sectors(source.read(place, bitmap), base, place + bitmap, start, stop)
            else:
                # qemu does not look at the bitmap of a disk without a parent: what is there was zeroed before use.
                yield Extent(start, stop - start, Kind.DATA, 0, place + bitmap + start - base, 0, 0, 0, 0)


def _sectors(bitmap: bytes, base: int, data: int, start: int, stop: int) -> Iterator[Extent]:
    """The part from start to stop of the block at `base`, whose bitmap has a bit, the highest first, for each sector
    that is here and not in the parent."""
    first, end = (start - base) // SECTOR, -(-(stop - base) // SECTOR)
    from_byte, to_byte = first // 8, -(-end // 8)
    window = bitmap[from_byte:to_byte]
    if window.count(0xFF) == len(window):
        yield Extent(start, stop - start, Kind.DATA, 0, data + start - base, 0, 0, 0, 0)
        return
    if not any(window):
        yield Extent(start, stop - start, Kind.ABSENT, 0, NOWHERE, 0, 0, 0, 0)
        return
    bits = f"{int.from_bytes(window, 'big'):0{len(window) * 8}b}"
    at = first
    while at < end:
        here = bits[at - from_byte * 8]
        turn = bits.find("0" if here == "1" else "1", at - from_byte * 8)
        until = end if turn < 0 else min(end, turn + from_byte * 8)
        low, high = max(start, base + at * SECTOR), min(stop, base + until * SECTOR)
        if here == "1":
            yield Extent(low, high - low, Kind.DATA, 0, data + low - base, 0, 0, 0, 0)
        else:
            yield Extent(low, high - low, Kind.ABSENT, 0, NOWHERE, 0, 0, 0, 0)
        at = until
