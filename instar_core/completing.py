"""Content that is written in whole units, of which only a part may be new: the rest of a unit is read from below."""

from __future__ import annotations

from itertools import chain as joined

from instar_core import stretches
from instar_core.dataplane.plans import cut

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from instar_core.chain import Member
    from instar_core.changing import Changing
    from instar_core.piece import Piece

WINDOW = 16 << 20
"""Bytes of a disk whose pieces are asked for at once: one question of this size costs less than many small ones."""

WIDE = 256 << 20
"""The same where most of the disk is asked for."""


def completed(
    pieces: Iterator[Piece], unit: int, end: int, rest: Callable[[int, int], Iterator[Piece]]
) -> Iterator[Piece]:
    """The same ascending pieces, and in the units that they touch what `rest(start, stop)` gives for the gaps.

    The disk has `end` bytes; its last unit may be short. `rest` is asked for places that ascend.
    """
    at = 0
    for piece in pieces:
        if piece.start > at:
            stop = min(piece.start, -(-at // unit) * unit)
            begin = max(stop, piece.start // unit * unit)
            if at < stop:
                yield from rest(at, stop)
            if begin < piece.start:
                yield from rest(begin, piece.start)
        yield piece
        at = piece.start + piece.length
    stop = min(end, -(-at // unit) * unit)
    if at < stop:
        yield from rest(at, stop)


class Below:
    """A chain that is looked into here and there while another one is gone through."""

    def __init__(self, top: Member, window: int = WINDOW) -> None:
        """`window` is the bytes that are asked for at once."""
        self._top = top
        self._window = window
        self._size = top.info.virtual_size
        self._held: list[Piece] = []
        self._next = 0

    def between(self, start: int, stop: int) -> Iterator[Piece]:
        """The pieces from `start` to `stop`, which lie on the disk. Starts never go back."""
        while start < stop:
            piece = self._at(start)
            length = min(stop, piece.start + piece.length) - start
            yield cut(piece, start, length)
            start += length

    def _at(self, place: int) -> Piece:
        held = self._held
        if not held or place >= held[-1].start + held[-1].length:
            length = min(self._window, self._size - place)
            held = self._held = list(stretches.pieces(self._top, start=place, length=length))
            self._next = 0
        while place >= held[self._next].start + held[self._next].length:
            self._next += 1
        return held[self._next]


class Rest:
    """An image that is being changed, as it reads where nothing new is written. A context manager.

    It is opened for reading only if something of it is needed.
    """

    def __init__(self, image: Changing) -> None:
        self._image = image
        self._size = image.member.info.virtual_size
        self._top: Member | None = None

    def __enter__(self) -> Rest:
        return self

    def __exit__(self, *_: object) -> None:
        if self._top is not None:
            self._top.close()

    def behind(self, pieces: Iterator[Piece], end: int, unit: int) -> Iterator[Piece]:
        """The pieces, which leave no gap up to `end`, and the rest of the unit that they end in. Raises InstarError."""
        stop = min(self._size, -(-end // unit) * unit)
        if end >= stop:
            return pieces
        # Known from now on: later the image is on its way from one state to the next.
        return joined(pieces, list(stretches.pieces(self._open(), start=end, length=stop - end)))

    def around(self, pieces: Iterator[Piece], unit: int) -> Iterator[Piece]:
        """The pieces, and the rest of every unit that they touch. Raises InstarError.

        Zeros from below the image that the pieces are of are left out where this one reads as zeros anyway.
        """
        top = self._open()
        return completed(_needed(pieces, Below(top, WIDE)), unit, self._size, Below(top).between)

    def _open(self) -> Member:
        self._top = self._image.chain()
        return self._top


def _needed(pieces: Iterator[Piece], there: Below) -> Iterator[Piece]:
    for piece in pieces:
        if not piece.depth:
            yield piece
            continue
        for held in there.between(piece.start, piece.start + piece.length):
            if not held.zero:
                yield cut(piece, held.start, held.length)
