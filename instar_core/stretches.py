"""The merged disk as the pieces that the data plane moves: places in open files, without any format left in them."""

from __future__ import annotations

from instar_core import merge
from instar_core.errors import ErrorKind, FormatError
from instar_core.piece import Piece
from instar_core.types import Kind, Layer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from instar_core.chain import Member
    from instar_core.types import Extent

ACTIVE = Layer()


def pieces(
    top: Member, layer: Layer = ACTIVE, start: int = 0, length: int | None = None, shift: int = 0
) -> Iterator[Piece]:
    """The window as pieces, ascending and covering; `shift` is added to every start.

    What an image says nothing about counts to the one below it, also where there is none.
    """
    for extent, member, depth in merge.extents(top, layer, start, length):
        yield _piece(extent, member, depth, shift)


def _piece(extent: Extent, member: Member, depth: int = 0, shift: int = 0) -> Piece:
    first, size, kind, index, offset, stored, coding, skip, _ = extent
    if kind != Kind.DATA:
        return Piece(first + shift, size, True, depth=depth + (kind == Kind.ABSENT))
    device = member.devices[index]
    return Piece(
        first + shift,
        size,
        False,
        device.descriptor,
        offset,
        stored,
        member.info.codings[coding - 1] if coding else None,
        skip,
        depth,
        device.size,
        shift,
    )


def concatenated(tops: Sequence[tuple[Member, Layer]]) -> Iterator[Piece]:
    """Several disks one behind the other."""
    shift = 0
    for top, layer in tops:
        size = merge.layer_size(top, layer)
        yield from pieces(top, layer, 0, size, shift)
        shift += size


def own(top: Member, layer: Layer, unit: int, reach: int) -> Iterator[Piece]:
    """Only what the top image itself says, in whole units: what it leaves to its backing image is left out.

    Units that the top image fills in part are completed from the images below it. From `reach` on, where the image that
    the pieces go over ends, its zeros are left out too.
    """
    size = merge.layer_size(top, layer)
    spans: list[list[int]] = []
    for extent in _said(top, layer):
        end = extent.start + extent.length
        if extent.kind != Kind.DATA:
            end = min(end, reach)
        if end <= extent.start:
            continue
        first = extent.start // unit * unit
        stop = min(-(-end // unit) * unit, size)
        if spans and first <= spans[-1][1]:
            spans[-1][1] = max(spans[-1][1], stop)
        else:
            spans.append([first, stop])
    for first, stop in spans:
        yield from pieces(top, layer, first, stop - first)


def alone(top: Member, layer: Layer) -> Iterator[Piece]:
    """Only what the top image itself says, where it says it. Zeros that it only has since nothing lies below it have
    depth 1."""
    for extent in _said(top, layer):
        yield _piece(extent, top)


def _said(top: Member, layer: Layer) -> Iterator[Extent]:
    """The extents of the top image itself. It leaves nothing to a backing image where that has ended: it is ABSENT
    there."""
    if top.info.blocked:
        raise FormatError(top.info.blocked, kind=ErrorKind.UNSUPPORTED, path=top.path)
    below = 0 if top.backing is None else top.backing.info.virtual_size
    for extent in top.session.map(top.format, top.info, layer, 0, merge.layer_size(top, layer)):
        end = extent.start + extent.length
        if extent.kind != Kind.ABSENT:
            yield extent
        elif end > below:
            yield merge.cut(extent, max(extent.start, below), end)
