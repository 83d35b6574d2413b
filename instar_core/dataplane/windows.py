"""Pieces that were told once are kept for the next look: reading here and there asks for a place each time."""

from __future__ import annotations

from bisect import bisect_right

from instar_core.dataplane.plans import cut
from instar_core.dataplane.refine import covering

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from instar_core.piece import Piece

SIZE = 16 << 20
"""Bytes of the disk whose pieces are asked for at once."""

FEW = 4
"""Windows; who reads more at once is not reading here and there."""

MOST = 1 << 16
"""Pieces that are kept, beside those of the window in use."""


class Windows:
    """The pieces of a disk of `end` bytes that stays as it is, as `source(start, length)` tells them."""

    def __init__(self, source: Callable[[int, int], Iterator[Piece]], end: int) -> None:
        self._source = source
        self._end = end
        self._known: dict[int, tuple[list[int], list[Piece]]] = {}
        self._count = 0

    def pieces(self, start: int, length: int) -> Iterator[Piece]:
        """The pieces that cover the stretch. Raises what the source does."""
        stop = start + length
        first, last = start // SIZE, (stop - 1) // SIZE
        if last - first >= FEW:
            yield from self._source(start, length)
            return
        for number in range(first, last + 1):
            starts, pieces = self._window(number)
            at, end = max(start, number * SIZE), min(stop, (number + 1) * SIZE)
            index = bisect_right(starts, at) - 1
            while at < end:
                piece = pieces[index]
                index += 1
                step = min(end, piece.start + piece.length) - at
                yield cut(piece, at, step)
                at += step

    def _window(self, number: int) -> tuple[list[int], list[Piece]]:
        found = self._known.pop(number, None)
        if found is None:
            start = number * SIZE
            end = min(start + SIZE, self._end)
            pieces = list(covering(self._source(start, end - start), start, end))
            found = [piece.start for piece in pieces], pieces
            self._count += len(pieces)
            while self._known and self._count > MOST:
                self._count -= len(self._known.pop(next(iter(self._known)))[0])
        self._known[number] = found  # last, as the one that was used last
        return found
