"""The L1 table of a new image, written piece by piece as its entries become known in ascending order."""

from __future__ import annotations

from struct import pack_into

from instar_core.types import Put, Zero

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from instar_core.types import Edit

PIECE = 8192
"""Entries of one edit: 64 KiB."""


class Level1:
    """An L1 table of `entries` entries at byte `offset`; those never set are 0."""

    __slots__ = ("_buffer", "_done", "_entries", "_offset")

    def __init__(self, offset: int, entries: int) -> None:
        self._offset = offset
        self._entries = entries
        self._done = 0
        self._buffer = bytearray(8 * PIECE)

    def set(self, index: int, value: int) -> Iterator[Edit]:
        """Entry `index` is `value`; indices ascend. Yields the pieces that are thereby complete."""
        if index >= self._done + PIECE:
            yield from self._piece()
            yield from self._zeros((index - self._done) // PIECE * PIECE)
        pack_into(">Q", self._buffer, 8 * (index - self._done), value)

    def finish(self) -> Iterator[Edit]:
        """Every entry is written."""
        yield from self._piece()
        yield from self._zeros(self._entries - self._done)

    def _piece(self) -> Iterator[Edit]:
        count = min(PIECE, self._entries - self._done)
        if count:
            yield Put(self._offset + 8 * self._done, bytes(self._buffer[: 8 * count]))
            self._buffer = bytearray(8 * PIECE)
            self._done += count

    def _zeros(self, count: int) -> Iterator[Edit]:
        if count:
            yield Zero(self._offset + 8 * self._done, 8 * count)
            self._done += count
