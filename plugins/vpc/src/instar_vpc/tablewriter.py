"""Writing the block allocation table: entries in ascending order, gathered and put together."""

from __future__ import annotations

from array import array
from sys import byteorder

from instar_core.types import Put
from instar_vpc import limits
from instar_vpc.layout import UNUSED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

NEAR = 4096
"""Entries without a block that are rather put than skipped."""


class TableWriter:
    """Entries of the table at `place`, which holds UNUSED everywhere at first."""

    __slots__ = ("_entries", "_first", "_place")

    def __init__(self, place: int) -> None:
        self._place = place
        self._first = 0
        self._entries = array("I")

    def record(self, block: int, sector: int) -> Iterator[Put]:
        """Block `block` begins, with its bitmap, at `sector`."""
        gap = block - self._first - len(self._entries)
        if not self._entries or gap > NEAR or len(self._entries) + gap >= limits.WINDOW:
            yield from self.flush()
            self._first, gap = block, 0
        self._entries.extend([UNUSED] * gap)
        self._entries.append(sector)

    def flush(self) -> Iterator[Put]:
        """Puts what has been gathered."""
        if self._entries:
            if byteorder == "little":
                self._entries.byteswap()
            yield Put(self._place + self._first * 4, self._entries.tobytes())
        self._entries = array("I")
