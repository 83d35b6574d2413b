"""Writing entries of one table, in ascending order."""

from __future__ import annotations

import sys
from array import array

from instar_core.types import Put
from instar_qed import layout, limits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

NEAR = 4096
"""Entries without a cluster that are rather put than skipped."""


class TableWriter:
    """A table at `offset` of a file that reads as zeros there: only entries with a value are put."""

    __slots__ = ("_base", "_entries", "_offset")

    def __init__(self, offset: int) -> None:
        self._offset = offset
        self._base = 0
        self._entries = array("Q")

    def record(self, index: int, count: int, entry: int, step: int) -> Iterator[Put]:
        """Entries `index` on are `entry`, entry + step, …"""
        while count:
            gap = index - self._base - len(self._entries)
            if not self._entries or gap > NEAR or len(self._entries) + gap >= limits.WINDOW:
                yield from self.flush()
                self._base = index
                gap = 0
            length = min(count, limits.WINDOW - len(self._entries) - gap)
            self._entries.frombytes(bytes(layout.ENTRY * gap))
            self._entries.extend(range(entry, entry + step * length, step) if step else [entry] * length)
            index += length
            count -= length
            entry += step * length

    def flush(self) -> Iterator[Put]:
        """What has been gathered is put."""
        if self._entries:
            if sys.byteorder == "big":
                self._entries.byteswap()
            yield Put(self._offset + self._base * layout.ENTRY, self._entries.tobytes())
        self._entries = array("Q")
