"""What was read is kept in blocks, for sources where asking has a price."""

from __future__ import annotations

from collections import OrderedDict

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from instar_core.sources.backend import Backend

KEPT: Final = 32
"""Blocks."""
AHEAD: Final = 4
"""Blocks fetched at once by one who reads from front to back."""


class Blocks:
    """Reads of a source that nobody writes to, through blocks that are kept, the last used ones."""

    def __init__(self, backend: Backend, size: int) -> None:
        self._backend = backend
        self._size = size
        self._block = backend.block
        self._kept: OrderedDict[int, bytes] = OrderedDict()
        self._next = -1

    def read(self, offset: int, length: int) -> bytes:
        """Exactly these bytes, which lie inside the source."""
        made = bytearray()
        while length:
            number, inside = divmod(offset, self._block)
            piece = self._get(number)[inside : inside + length]
            made += piece
            offset += len(piece)
            length -= len(piece)
        return bytes(made)

    def _get(self, number: int) -> bytes:
        block = self._kept.get(number)
        if block is None:
            self._fetch(number)
            block = self._kept[number]
        self._kept.move_to_end(number)
        return block

    def _fetch(self, number: int) -> None:
        count = AHEAD if number == self._next else 1
        start = number * self._block
        length = min(count * self._block, self._size - start)
        data = self._backend.read(start, length)
        for at in range(0, length, self._block):
            self._kept[number + at // self._block] = data[at : at + self._block]
        self._next = number + -(-length // self._block)
        while len(self._kept) > KEPT:
            self._kept.popitem(last=False)
