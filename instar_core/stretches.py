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

ACTIVE = Layer()


def pieces(
    top: Member, layer: Layer = ACTIVE, start: int = 0, length: int | None = None, shift: int = 0
) -> Iterator[Piece]:
    """The window as pieces, ascending and covering; `shift` is added to every start."""
    for extent, member, depth in merge.extents(top, layer, start, length):
        first, size, kind, index, offset, stored, coding, skip, _ = extent
        if kind != Kind.DATA:
            yield Piece(first + shift, size, True, depth=depth)
            continue
        device = member.devices[index]
        yield Piece(
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


def own(top: Member, layer: Layer, unit: int) -> Iterator[Piece]:
    """Only what the top image itself says, in whole units: what it leaves to its backing image is left out.

    Units that the top image fills in part are completed from the images below it.
    """
    size = merge.layer_size(top, layer)
    if top.info.blocked:
        raise FormatError(top.info.blocked, kind=ErrorKind.UNSUPPORTED, path=top.path)
    spans: list[list[int]] = []
    for extent in top.session.map(top.format, top.info, layer, 0, size):
        if extent.kind == Kind.ABSENT:
            continue
        first = extent.start // unit * unit
        stop = min(-(-(extent.start + extent.length) // unit) * unit, size)
        if spans and first <= spans[-1][1]:
            spans[-1][1] = max(spans[-1][1], stop)
        else:
            spans.append([first, stop])
    for first, stop in spans:
        yield from pieces(top, layer, first, stop - first)
