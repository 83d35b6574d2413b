"""Where the content of a VDI image lies."""

from __future__ import annotations

from instar_core.errors import ErrorKind, FormatError
from instar_core.types import Extent, Flag, Kind, LayerKind
from instar_vdi.blocks import ABSENT, stretches
from instar_vdi.info import CUT
from instar_vdi.layout import Type
from instar_vdi.opening import cut, open_image

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from instar_core.source import Image
    from instar_core.types import Layer, Span
    from instar_vdi.layout import Header


def extents(image: Image, layer: Layer, span: Span) -> Iterator[Extent]:
    """Extents that cover `span` exactly, neighbours joined. Raises FormatError for another layer, or a cut map."""
    if layer.kind != LayerKind.ACTIVE:
        raise FormatError("a VDI image has neither snapshots nor bitmaps", kind=ErrorKind.UNSUPPORTED)
    header = open_image(image.main)
    if cut(image.main, header):
        raise FormatError(CUT, kind=ErrorKind.TRUNCATED, offset=image.main.size)
    # The holes of a static image are holes of the disk too; in a dynamic one the map says what is not there.
    flags = Flag.REFINE if header.image_type == Type.STATIC else 0
    last: Extent | None = None
    for start, length, offset in _pieces(image, header, span.start, span.start + span.length):
        if last is not None:
            joined = last.offset + last.length == offset if offset >= 0 else last.kind == Kind.ZERO
            if joined and (offset < 0 or last.kind == Kind.DATA):
                last = last._replace(length=last.length + length)
                continue
            yield last
        if offset < 0:
            last = Extent(start, length, Kind.ZERO)
        else:
            last = Extent(start, length, Kind.DATA, 0, offset, flags=flags)
    if last is not None:
        yield last


def _pieces(image: Image, header: Header, low: int, high: int) -> Iterator[tuple[int, int, int]]:
    """The window [low, high) as (start, length, offset in the file or -1), each piece end to end in the file."""
    size = header.block_size
    if low >= high:
        return
    for block, count, index, step in stretches(image.main, header, low // size, -(-high // size)):
        together = count if index == ABSENT or (step and not header.block_extra) else 1
        for number in range(0, count, together):
            start = (block + number) * size
            end = min(high, start + together * size)
            skip = max(0, low - start)
            offset = -1 if index == ABSENT else header.place(index + number * step) + skip
            yield start + skip, end - start - skip, offset
