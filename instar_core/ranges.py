"""Stretches of a file that are in use: where two of them meet in the same bytes, and what lies between them."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

LENGTH_BITS = 64
MASK = (1 << LENGTH_BITS) - 1


class Ranges:
    """A bounded collection of stretches; once `most` of them are not neighbours it is full and knows nothing more."""

    __slots__ = ("_end", "_kept", "_most", "_start", "full")

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept: list[int] = []
        self._start = 0
        self._end = 0
        self.full = False

    def add(self, start: int, length: int) -> None:
        """Takes note of `length` bytes at `start`."""
        if start == self._end:
            self._end += length
            return
        self._keep()
        self._start, self._end = start, start + length

    def sorted(self) -> Iterator[tuple[int, int, int]]:
        """(start, length, reach of those before it) of every stretch, ascending."""
        self._keep()
        self._start = self._end = 0
        if self.full:
            return
        self._kept.sort()
        reach = 0
        for packed in self._kept:
            start, length = packed >> LENGTH_BITS, packed & MASK
            yield start, length, reach
            reach = max(reach, start + length)

    def overlaps(self) -> Iterator[int]:
        """Where stretches begin that lie in an earlier one, ascending."""
        return (start for start, _, reach in self.sorted() if start < reach)

    def _keep(self) -> None:
        if self._end == self._start or self.full:
            return
        if len(self._kept) >= self._most:
            self.full = True
            self._kept.clear()
            return
        self._kept.append(self._start << LENGTH_BITS | self._end - self._start)
