"""Stretches of a file that are in use, and where two of them meet in the same bytes."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

LENGTH_BITS = 64


class Stretches:
    """A bounded collection; once `most` stretches that do not follow one another are in it, it is full and knows
    nothing."""

    __slots__ = ("_end", "_kept", "_most", "_start", "full")

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept: list[int] = []
        self._start = 0
        self._end = 0
        self.full = False

    def add(self, start: int, length: int) -> None:
        """`length` bytes at `start` are in use."""
        if start == self._end:
            self._end += length
            return
        self._keep()
        self._start, self._end = start, start + length

    def overlaps(self) -> Iterator[int]:
        """Where stretches begin that lie in an earlier one, ascending."""
        self._keep()
        self._start = self._end = 0
        mask = (1 << LENGTH_BITS) - 1
        reach = 0
        for packed in sorted(self._kept):
            start = packed >> LENGTH_BITS
            if start < reach:
                yield start
            reach = max(reach, start + (packed & mask))

    def _keep(self) -> None:
        if self._end == self._start or self.full:
            return
        if len(self._kept) >= self._most:
            self.full = True
            self._kept.clear()
            return
        self._kept.append(self._start << LENGTH_BITS | self._end - self._start)
