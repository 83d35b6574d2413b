"""Where the content of an image lies."""

from __future__ import annotations

from instar_core.errors import ErrorKind, FormatError
from instar_core.types import NOWHERE, Extent, Kind, LayerKind
from instar_dmg import layout
from instar_dmg.blocks import chunks, open_disk
from instar_dmg.info import codings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from instar_core.source import Image
    from instar_core.types import Layer, Span
    from instar_dmg.blocks import Chunk

RAW = layout.ChunkType.RAW
INT64_MAX = (1 << 63) - 1


def extents(image: Image, layer: Layer, span: Span) -> Iterator[Extent]:
    """Extents that cover `span` exactly; plain neighbours that continue one another are one.

    Raises FormatError (CORRUPT) for sectors that lie in no chunk or in two, (UNSUPPORTED) for unknown types of chunks.
    """
    if layer.kind != LayerKind.ACTIVE:
        raise FormatError("an Apple disk image has neither snapshots nor bitmaps", kind=ErrorKind.UNSUPPORTED)
    disk = open_disk(image.main)
    numbers = {kind: number + 1 for number, kind in enumerate(codings(disk))}
    last: Extent | None = None
    for made in _pieces(chunks(disk), numbers, span.start, span.start + span.length):
        if last is None:
            last = made
        elif not made.coding and not last.coding and made.kind == last.kind and _follows(last, made):
            last = last._replace(length=last.length + made.length)
        else:
            yield last
            last = made
    if last is not None:
        yield last


def _follows(one: Extent, other: Extent) -> bool:
    return one.kind == Kind.ZERO or one.offset + one.length == other.offset


def _pieces(found: list[Chunk], numbers: Mapping[int, int], at: int, end: int) -> Iterator[Extent]:
    """The part of each chunk that lies in [at, end)."""
    begin, reach = at, 0
    for first, count, kind, offset, length in found:
        start, stop = first * layout.SECTOR, (first + count) * layout.SECTOR
        if start >= end:
            break
        if start < reach and stop > begin:
            raise FormatError(f"two chunks hold the sector {first}", kind=ErrorKind.CORRUPT)
        reach = max(reach, stop)
        if stop <= at:
            continue
        if start > at:
            break
        size = min(stop, end) - at
        yield _piece(at, size, at - start, (count, kind, offset, length), numbers)
        at += size
    if at < end:
        raise FormatError(f"no chunk holds the sector {at // layout.SECTOR}", kind=ErrorKind.CORRUPT)


def _piece(start: int, size: int, skip: int, chunk: tuple[int, int, int, int], numbers: Mapping[int, int]) -> Extent:
    """`size` bytes from `start` on, which lie `skip` bytes behind the beginning of their chunk."""
    count, kind, offset, length = chunk
    if kind in layout.EMPTY:
        return Extent(start, size, Kind.ZERO, 0, NOWHERE)
    if kind != RAW and kind not in numbers:
        raise FormatError(f"chunks of the type {kind:#010x} cannot be read", kind=ErrorKind.UNSUPPORTED)
    wanted = count * layout.SECTOR if kind == RAW else 1
    if length < wanted or offset + length > INT64_MAX:
        raise FormatError(
            f"the chunk at sector {start // layout.SECTOR} claims {length} bytes at {offset}", kind=ErrorKind.CORRUPT
        )
    if kind == RAW:
        return Extent(start, size, Kind.DATA, 0, offset + skip)
    return Extent(start, size, Kind.DATA, 0, offset, length, numbers[kind], skip)
