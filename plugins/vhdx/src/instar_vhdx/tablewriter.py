"""Writing the block allocation table of a new image, in ascending order and in pieces."""

from __future__ import annotations

from array import array
from sys import byteorder

from instar_core.types import Put
from instar_vhdx import limits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from instar_vhdx.choices import Choices

WIDTH = 8


class TableWriter:
    """Gathers entries; blocks that none is recorded for have the entry `default`.

    After the blocks of each chunk stands the entry of its sector bitmap block, 0: there is none.
    """

    __slots__ = ("_base", "_blocks", "_default", "_entries", "_next", "_place", "_ratio")

    def __init__(self, choices: Choices, place: int, default: int) -> None:
        self._ratio = choices.ratio
        self._blocks = choices.blocks
        self._place = place
        self._default = default
        self._next = 0
        self._base = 0
        self._entries = array("Q")

    def record(self, block: int, count: int, entry: int, step: int) -> Iterator[Put]:
        """Blocks `block` on, which must not come before any recorded earlier, have `entry`, each `step` more."""
        yield from self._skip(block)
        yield from self._extend(count, entry, step)

    def end(self) -> Iterator[Put]:
        """The entries of all blocks are put."""
        yield from self._skip(self._blocks)
        yield from self._flush()

    def _skip(self, block: int) -> Iterator[Put]:
        if self._default:
            yield from self._extend(block - self._next, self._default, 0)
        elif block - self._next > self._ratio:
            # A new file's table is zeros already.
            yield from self._flush()
            self._next = block
            self._base = block + block // self._ratio
        else:
            yield from self._extend(block - self._next, 0, 0)

    def _extend(self, count: int, entry: int, step: int) -> Iterator[Put]:
        while count > 0:
            some = min(count, self._ratio - self._next % self._ratio)
            self._entries.extend(range(entry, entry + step * some, step) if step else array("Q", [entry]) * some)
            self._next += some
            count -= some
            entry += step * some
            if not self._next % self._ratio and self._next < self._blocks:
                self._entries.append(0)
            if len(self._entries) >= limits.WINDOW:
                yield from self._flush()

    def _flush(self) -> Iterator[Put]:
        made = self._entries
        if made:
            if byteorder == "big":
                made.byteswap()
            yield Put(self._place + self._base * WIDTH, made.tobytes())
            self._base += len(made)
            self._entries = array("Q")
