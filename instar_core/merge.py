"""Laying the images of a chain over one another."""

from __future__ import annotations

from instar_core.dataplane.sparse import Stretches, file_extents
from instar_core.errors import ErrorKind, FormatError
from instar_core.types import NOWHERE, Extent, Flag, Kind, Layer, LayerKind

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from instar_core.chain import Member

ACTIVE = Layer()


def layer_size(member: Member, layer: Layer) -> int:
    """The virtual size of a layer in bytes: a snapshot has its own."""
    if layer.kind == LayerKind.SNAPSHOT:
        for snapshot in member.info.snapshots:
            if snapshot.id == layer.id and snapshot.virtual_size:
                return snapshot.virtual_size
    return member.info.virtual_size


def extents(
    member: Member, layer: Layer = ACTIVE, start: int = 0, length: int | None = None
) -> Iterator[tuple[Extent, Member, int]]:
    """The window as seen from the top: (extent, the image it comes from, that image's depth), ascending and covering.

    An ABSENT extent is left only where nothing below has anything to say: its image is the lowest that was asked.
    """
    size = layer_size(member, layer)
    if length is None:
        length = size - start
    if member.info.blocked:
        raise FormatError(member.info.blocked, kind=ErrorKind.UNSUPPORTED, path=member.path)
    top = member.session.map(member.format, member.info, layer, start, length)
    return _over(top, member, 0, start + length)


def _over(top: Iterator[Extent], member: Member, depth: int, end: int) -> Iterator[tuple[Extent, Member, int]]:
    below = member.backing
    if below is None:
        for extent in top:
            yield extent, member, depth
        return
    lower: _Window | None = None
    reach = min(below.info.virtual_size, end)
    for extent in top:
        if extent.kind != Kind.ABSENT or extent.start >= reach:
            yield extent, member, depth
            continue
        if lower is None:
            lower = _Window(below, depth + 1, extent.start, reach)
        stop = min(extent.start + extent.length, reach)
        yield from lower.between(extent.start, stop)
        if stop < extent.start + extent.length:
            rest = cut(extent, stop, extent.start + extent.length)
            yield rest, member, depth
    if lower is not None:
        lower.drain()


class _Window:
    """The merged extents of a backing image from a start on, read once and in order; what lies between is skipped."""

    def __init__(self, member: Member, depth: int, start: int, end: int) -> None:
        if member.info.blocked:
            raise FormatError(member.info.blocked, kind=ErrorKind.UNSUPPORTED, path=member.path)
        top = member.session.map(member.format, member.info, ACTIVE, start, end - start)
        self.stream = _over(top, member, depth, end)
        self.held: tuple[Extent, Member, int] | None = None

    def between(self, start: int, stop: int) -> Iterator[tuple[Extent, Member, int]]:
        """The part of the stream from start to stop."""
        while True:
            held = self.held or next(self.stream)
            extent, member, depth = held
            end = extent.start + extent.length
            if end <= start:
                self.held = None
                continue
            yield cut(extent, max(start, extent.start), min(stop, end)), member, depth
            if end >= stop:
                self.held = held if end > stop else None
                return
            self.held = None

    def drain(self) -> None:
        """The stream is read to its end, so that its session stays usable."""
        for _ in self.stream:
            pass


def cut(extent: Extent, start: int, stop: int) -> Extent:
    """The part of an extent from start to stop."""
    if start == extent.start and stop == extent.start + extent.length:
        return extent
    by = start - extent.start
    length = stop - start
    if (extent.coding and extent.stored != extent.length) or (extent.coding and extent.skip):
        return extent._replace(start=start, length=length, skip=extent.skip + by)
    offset = extent.offset if extent.offset == NOWHERE else extent.offset + by
    stored = length if extent.stored else 0
    return extent._replace(start=start, length=length, offset=offset, stored=stored)


def refined(stream: Iterator[tuple[Extent, Member, int]]) -> Iterator[tuple[Extent, Member, int, bool]]:
    """The same extents with (last) whether their file has data there. Only extents that ask for it are looked into."""
    stretches = Stretches()
    for extent, member, depth in stream:
        plain = extent.kind == Kind.DATA and not extent.coding
        if not plain or not extent.flags:
            yield extent, member, depth, extent.kind == Kind.DATA
            continue
        descriptor = member.devices[extent.device].descriptor
        whole = extent.flags & Flag.HOLES
        filled = stretches.data(descriptor, extent.offset, extent.length)
        if filled or (filled is False and not whole):
            yield extent, member, depth, filled
            continue
        at = extent.start
        for offset, length, data in file_extents(descriptor, extent.offset, extent.length):
            kind = Kind.ZERO if whole and not data else Kind.DATA
            yield Extent(at, length, kind, extent.device, offset, flags=extent.flags), member, depth, data
            at += length
