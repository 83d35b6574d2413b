"""Where the content of a VMDK image lies."""

from __future__ import annotations

from instar_core.errors import ErrorKind, FormatError
from instar_core.types import NOWHERE, Extent, Flag, Kind, LayerKind
from instar_vmdk import limits
from instar_vmdk.grains import grains
from instar_vmdk.info import codings
from instar_vmdk.layout import MARKER, SECTOR, Part, Sparse
from instar_vmdk.opening import open_disk

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from instar_core.source import Image, Source
    from instar_core.types import Layer, Span


def extents(image: Image, layer: Layer, span: Span) -> Iterator[Extent]:
    """Extents that cover `span` exactly, neighbours joined. Raises FormatError for another layer, or corrupt tables."""
    if layer.kind != LayerKind.ACTIVE:
        raise FormatError("a VMDK image has neither snapshots nor bitmaps", kind=ErrorKind.UNSUPPORTED)
    disk = open_disk(image)
    units = [coding.unit for coding in codings(disk)]
    end = span.start + span.length
    last: Extent | None = None
    for part in disk.parts:
        low = max(span.start, part.start)
        high = min(end, part.start + part.length)
        if low >= high:
            continue
        for made in _part(image, part, low, high, units):
            if last is not None:
                # Neighbours are joined: the rule of _touch, the quick answer first.
                if last.kind == made.kind and _touch(last, made):
                    last = last._replace(length=last.length + made.length)
                    continue
                yield last
            last = made
    if last is not None:
        yield last


def _touch(one: Extent, other: Extent) -> bool:
    """Whether two neighbours are one extent."""
    if one.coding or other.coding or one.kind != other.kind or one.flags != other.flags:
        return False
    return one.kind != Kind.DATA or (one.device == other.device and one.offset + one.length == other.offset)


def _part(image: Image, part: Part, low: int, high: int, units: list[int]) -> Iterator[Extent]:
    if part.type == "ZERO":
        yield Extent(low, high - low, Kind.ZERO)
        return
    if part.access == "NOACCESS":
        raise FormatError("an extent with access NOACCESS cannot be read", kind=ErrorKind.UNSUPPORTED)
    if part.device >= len(image.devices):
        raise FormatError("an extent of the image is missing", kind=ErrorKind.MISSING)
    if part.flat:
        at = part.offset + low - part.start
        yield Extent(low, high - low, Kind.DATA, part.device, at, flags=Flag.REFINE)
        return
    sparse = part.sparse
    if sparse is None:
        raise FormatError("an extent of the image is missing", kind=ErrorKind.MISSING)
    source = image.devices[part.device]
    coding = units.index(sparse.grain) + 1 if sparse.compressed else 0
    base, size, device = part.start, sparse.grain, part.device
    first = (low - base) // size
    last = -(-(high - base) // size)
    for grain, count, kind, offset in grains(source, sparse, first, last):
        start = base + grain * size
        stop = min(high, start + count * size)
        skip = max(0, low - start)
        start += skip
        # All fields by position: a fragmented image has millions of extents, and this is the fast way to make them.
        if kind != Kind.DATA:
            yield Extent(start, stop - start, kind, 0, NOWHERE, 0, 0, 0, 0)
        elif not coding:
            yield Extent(start, stop - start, kind, device, offset + skip, 0, 0, 0, 0)
        else:
            yield from _coded(source, sparse, device, coding, start, stop, offset, skip)


def _coded(
    source: Source, sparse: Sparse, device: int, coding: int, start: int, stop: int, offset: int, skip: int
) -> Iterator[Extent]:
    """Compressed grains from `offset` on; more than one only in a file whose grains did not shrink at all."""
    while start < stop:
        length = min(stop - start, sparse.grain - skip)
        place, stored = stream_at(source, sparse, offset)
        yield Extent(start, length, Kind.DATA, device, place, stored, coding, skip)
        start += length
        offset += sparse.grain
        skip = 0


def stream_at(source: Source, sparse: Sparse, offset: int) -> tuple[int, int]:
    """Where the zlib stream of the compressed grain at `offset` lies, and at most how many bytes it takes.

    Raises FormatError (CORRUPT) for a marker that announces nothing, or more than a grain can need.
    """
    most = limits.STORED_FACTOR * sparse.grain
    if not sparse.marked:
        return offset, max(1, min(most, source.size - offset))
    _, size = source.unpack(MARKER, offset, pad=True)
    if not 0 < size <= most:
        raise FormatError(
            f"the compressed grain at sector {offset // SECTOR} claims {size} bytes",
            kind=ErrorKind.CORRUPT,
            offset=offset,
        )
    return offset + MARKER.size, size
