"""Where the content of a growing disk lies. Source: Bochs Developers Guide, "Harddisk Images based on redologs"."""

from __future__ import annotations

from instar_bochs import layout
from instar_bochs.catalog import entries, stretches
from instar_bochs.header import read_header
from instar_core.errors import ErrorKind, FormatError
from instar_core.types import NOWHERE, Extent, Kind, LayerKind

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from instar_bochs.header import Header
    from instar_core.source import Image, Source
    from instar_core.types import Layer, Span

    Piece = tuple[int, int, int]
    """start, length, offset (NOWHERE for zeros)"""


def extents(image: Image, layer: Layer, span: Span) -> Iterator[Extent]:
    """Extents that cover the span, as long as they can be. What was never written is zeros.

    Raises FormatError for an extent that is not in the file, a catalog that is not, or bitmaps that cannot be.
    """
    if layer.kind != LayerKind.ACTIVE:
        raise FormatError("a Bochs image has neither snapshots nor bitmaps", kind=ErrorKind.UNSUPPORTED)
    source = image.main
    header = read_header(source)
    if header.blocked:
        raise FormatError(header.blocked, kind=ErrorKind.CORRUPT, offset=76)
    end = span.start + span.length
    at, total, where = span.start, 0, NOWHERE
    for start, length, offset in _pieces(source, header, span.start, end):
        skip = max(0, span.start - start)
        some = min(start + length, end) - start - skip
        if some <= 0:
            continue
        place = offset + skip if offset >= 0 else NOWHERE
        if total and place == (where + total if where >= 0 else NOWHERE):
            total += some
            continue
        if total:
            yield _extent(at, total, where)
        at, total, where = start + skip, some, place
    if total:
        yield _extent(at, total, where)


def _extent(start: int, length: int, offset: int) -> Extent:
    return Extent(start, length, Kind.DATA if offset >= 0 else Kind.ZERO, 0, offset)


def _pieces(source: Source, header: Header, start: int, end: int) -> Iterator[Piece]:
    size = header.extent
    for index, count, entry, step in entries(source, header, start // size, -(-end // size)):
        if entry == layout.UNALLOCATED:
            yield index * size, count * size, NOWHERE
            continue
        for number in range(index, index + count):
            place = header.data_offset + (entry + step * (number - index)) * header.stride
            if place + header.bitmap_bytes > source.size:
                raise FormatError(
                    f"the extent for byte {number * size} is not inside the file",
                    kind=ErrorKind.CORRUPT,
                    offset=header.header + layout.ENTRY * number,
                )
            sectors = size // layout.SECTOR
            bitmap = source.read(place, -(-sectors // 8))
            data = place + header.bitmap_bytes
            for first, some, there in stretches(bitmap, sectors):
                at = first * layout.SECTOR
                yield number * size + at, some * layout.SECTOR, data + at if there else NOWHERE
