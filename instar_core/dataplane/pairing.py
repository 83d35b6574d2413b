"""Two disks side by side: where the second cannot read the same as the first, as far as their maps tell.

This is what moving an image from one backing chain to another comes to. The first disk is the image as it is, over its
old chain; the second is the new chain alone. What the image itself holds stays as it is, whatever lies below.
"""

from __future__ import annotations

from instar_core.dataplane.plans import cut
from instar_core.dataplane.refine import covering, refined

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator
    from typing import NamedTuple

    from instar_core.piece import Piece

    Part = tuple[Piece, Piece, int]
else:
    from instar_core.record import NamedTuple

SAME, BARE, OPEN = 0, 1, 2
"""What is known of a stretch: it stays as it is; only zeros lie below it from now on; only reading can tell."""


class Stretch(NamedTuple):
    """From `start` to `stop`, both on units of the image: what is known (BARE or OPEN), and the parts that it is of:
    the pieces of both disks at the same places, and what is known of these (SAME too)."""

    start: int
    stop: int
    known: int
    parts: tuple[Part, ...]


def stretches(
    old: Iterator[Piece], new: Iterator[Piece], unit: int, size: int, file: Callable[[Piece], Hashable]
) -> Iterator[Stretch]:
    """The stretches of the first disk, of `size` bytes, that may read otherwise over the second, in whole units.

    Pieces of `old` with depth 0 are the image's own. A disk that is shorter goes on as zeros. `file` tells which file a
    piece lies in, whatever its descriptor.
    """
    pairs = _pairs(_seen(covering(old, 0, size)), refined(covering(new, 0, size)), size, file)
    mixed: list[Part] = []
    stop = 0
    for left, right, known in pairs:
        at, end = left.start, left.start + left.length
        if mixed:
            inside = min(end, stop) - at
            mixed.append((cut(left, at, inside), cut(right, at, inside), known))
            at += inside
            if at == stop:
                yield from _mixture(mixed)
                mixed = []
        whole = end if end == size else end // unit * unit
        if whole > at:
            if known != SAME:
                yield Stretch(at, whole, known, ((cut(left, at, whole - at), cut(right, at, whole - at), known),))
            at = whole
        if at < end:
            mixed = [(cut(left, at, end - at), cut(right, at, end - at), known)]
            stop = min(size, at - at % unit + unit)
    if mixed:
        yield from _mixture(mixed)


def _mixture(parts: list[Part]) -> Iterator[Stretch]:
    """One unit of which different things are known: the worst of them counts for all of it."""
    known = max(part[2] for part in parts)
    if known != SAME:
        last = parts[-1][0]
        yield Stretch(parts[0][0].start, last.start + last.length, known, tuple(parts))


def _seen(pieces: Iterator[Piece]) -> Iterator[Piece]:
    """The same pieces; those of the chain below the image with the holes of their files as zeros."""
    for piece in pieces:
        if piece.zero or not piece.depth:
            yield piece
            continue
        for part in refined(iter((piece,))):
            yield part._replace(depth=piece.depth)


def _pairs(old: Iterator[Piece], new: Iterator[Piece], size: int, file: Callable[[Piece], Hashable]) -> Iterator[Part]:
    """Parts of both disks that lie at the same place, and what is known of them."""
    at = 0
    left = right = None
    while at < size:
        if left is None:
            left = next(old)
        if right is None:
            right = next(new)
        ends = left.start + left.length, right.start + right.length
        stop = min(ends)
        one, other = cut(left, at, stop - at), cut(right, at, stop - at)
        yield one, other, _known(one, other, file)
        at = stop
        if ends[0] == stop:
            left = None
        if ends[1] == stop:
            right = None


def _known(old: Piece, new: Piece, file: Callable[[Piece], Hashable]) -> int:
    if not old.depth or (old.zero and new.zero):
        return SAME
    if new.zero:
        return BARE
    return SAME if not old.zero and _place(old) == _place(new) and file(old) == file(new) else OPEN


def _place(piece: Piece) -> tuple[object, ...]:
    """Where in its file a piece lies, and how it is to be read there."""
    return piece.offset, piece.stored, piece.coding, piece.skip, piece.origin
