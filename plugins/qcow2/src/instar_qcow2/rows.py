"""The pieces of a disk as columns of extents."""

from __future__ import annotations

from itertools import chain

from instar_core.columns import Columns
from instar_core.lightarray import array
from instar_core.limits import BATCH
from instar_core.types import NOWHERE, Kind
from instar_qcow2.fragments import Fragments

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from instar_core.columns import Column
    from instar_core.types import Span

    Piece = tuple[int, int, int, int, int]
    """start, length, kind, offset, stored (0 unless compressed)"""


class Rows:
    """Extents within a span: plain ones lie in `device`, and those that are data have `flags`. With `placeless` what is
    no data has no place.

    Pieces ascend and cover the span; neighbours that continue one another become one extent. The last piece is held,
    since the next may continue it.
    """

    __slots__ = (
        "_at", "_begin", "_coded", "_device", "_end", "_flags", "_kinds", "_offsets", "_placeless", "_skip", "_starts",
        "_stored", "_sum", "_total", "_what", "_where",
    )  # fmt: skip

    def __init__(self, span: Span, device: int, flags: int, *, placeless: bool = False) -> None:
        self._begin = span.start
        self._end = span.start + span.length
        self._device = device
        self._flags = flags
        self._placeless = placeless
        self._starts: list[int] = []
        self._kinds = bytearray()
        self._offsets = array("q")
        self._stored: list[int] = []
        self._coded = False
        self._skip = 0
        self._at = self._total = self._sum = 0
        self._what, self._where = -1, NOWHERE

    def batches(self, pieces: Iterator[Piece | Fragments]) -> Iterator[Columns]:
        """All extents, limits.BATCH at a time."""
        starts = self._starts
        for piece in pieces:
            if isinstance(piece, Fragments):
                self._extend(piece)
            else:
                self._put(*piece)
            while len(starts) >= BATCH:
                yield self._taken(starts[BATCH] if len(starts) > BATCH else self._at)
        self._settle()
        if starts:
            yield self._taken(min(self._at + self._total, self._end))

    def _put(self, start: int, length: int, kind: int, offset: int, stored: int) -> None:
        if start + length <= self._begin or start >= self._end:
            return
        if self._placeless and kind != Kind.DATA:
            offset = NOWHERE
        follows = self._where if self._where < 0 else self._where + self._total
        if kind == self._what and offset == follows and not stored and not self._sum:
            self._total += length
            return
        self._settle()
        self._at, self._total, self._what, self._where, self._sum = start, length, kind, offset, stored

    def _settle(self) -> None:
        """The piece that is held is an extent."""
        if not self._total:
            return
        at, where = self._at, self._where
        if at < self._begin:
            by = self._begin - at
            at = self._begin
            if self._sum:
                self._skip = by
            elif where >= 0:
                where += by
        self._starts.append(at)
        self._kinds.append(self._what)
        self._offsets.append(where)
        self._stored.append(self._sum)
        self._coded = self._coded or self._sum > 0

    def _extend(self, found: Fragments) -> None:
        """All of the fragments are put: the first and the last may continue others, or reach out of the span."""
        starts, kinds, offsets = found.starts, found.kinds, found.offsets
        last = len(starts) - 1
        stored = found.stored or [0] * (last + 1)
        ends = chain(starts[1:], (found.end,))
        if self._placeless or last < 2:
            for start, end, kind, offset, size in zip(starts, ends, kinds, offsets, stored, strict=True):
                self._put(start, end - start, kind, offset, size)
            return
        self._put(starts[0], starts[1] - starts[0], kinds[0], offsets[0], stored[0])
        self._settle()
        self._starts += starts[1:last]
        self._kinds += kinds[1:last]
        self._offsets += offsets[1:last]
        self._stored += stored[1:last]
        self._coded = self._coded or found.stored is not None
        self._at, self._total = starts[last], found.end - starts[last]
        self._what, self._where, self._sum = kinds[last], offsets[last], stored[last]

    def _taken(self, end: int) -> Columns:
        """The first limits.BATCH extents; `end` is where the last of them ends."""
        starts, kinds = self._starts[:BATCH], bytes(self._kinds[:BATCH])
        offsets, stored = self._offsets[:BATCH], self._stored[:BATCH]
        del self._starts[:BATCH], self._kinds[:BATCH], self._offsets[:BATCH], self._stored[:BATCH]
        number = len(starts)
        coding: Column = bytes(map(bool, stored)) if self._coded else 0
        device: Column = 0
        if self._device:
            device = [self._device if offset >= 0 else 0 for offset in offsets]
        flags: Column = 0
        if self._flags:
            flags = [
                self._flags if kind == Kind.DATA and not size else 0 for kind, size in zip(kinds, stored, strict=True)
            ]
        skip: Column = 0
        if self._skip:
            skip = [self._skip] + [0] * (number - 1)
            self._skip = 0
        lengths = array("Q", [stop - start for start, stop in zip(starts, chain(starts[1:], (end,)), strict=True)])
        return Columns(number, starts[0], lengths, kinds, device, offsets, stored if coding else 0, coding, skip, flags)
