"""Where the content of a qcow image lies."""

from __future__ import annotations

from instar_core.errors import ErrorKind, FormatError
from instar_core.types import NOWHERE, Extent, Kind, LayerKind
from instar_qcow import limits
from instar_qcow.header import read_header
from instar_qcow.info import COMPRESSED, ENCRYPTED
from instar_qcow.tables import clusters

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from instar_core.source import Image
    from instar_core.types import Layer, Span


def extents(image: Image, layer: Layer, span: Span) -> Iterator[Extent]:
    """Extents that cover `span` exactly, as long as they can be."""
    if layer.kind != LayerKind.ACTIVE:
        raise FormatError("a qcow image has neither snapshots nor bitmaps", kind=ErrorKind.UNSUPPORTED)
    header = read_header(image.main)
    if not span.length:
        return
    bits, end = header.cluster_bits, span.start + span.length
    new = tuple.__new__  # fragmented images have millions of extents: calling the class costs thrice as much
    at, total, what, where = span.start, 0, -1, NOWHERE
    for cluster, count, kind, offset, stored in clusters(image.main, header, span.start >> bits, -(-end >> bits)):
        start = max(cluster << bits, span.start)
        skip = start - (cluster << bits)
        length = min(cluster + count << bits, end) - start
        if not stored and kind == what and (offset < 0 or where + total == offset + skip):
            total += length
            continue
        if total:
            yield from _joined(header.encrypted, at, total, what, where)
        at, total, what, where = start, length, kind, offset + skip if offset >= 0 else NOWHERE
        if stored:
            yield new(Extent, (start, length, kind, 0, offset, stored, COMPRESSED, skip, 0))
            total, what = 0, -1
    if total:
        yield from _joined(header.encrypted, at, total, what, where)


def _joined(encrypted: bool, start: int, length: int, kind: int, offset: int) -> Iterator[Extent]:
    if not encrypted or kind != Kind.DATA:
        yield Extent(start, length, kind, 0, offset)
        return
    at, end = start, start + length
    while at < end:
        # Cut at fixed places, so that the map of a window is the same as that part of the whole map.
        size = min(end - at, limits.STORED - at % limits.STORED)
        yield Extent(at, size, kind, 0, offset + at - start, size, ENCRYPTED)
        at += size
