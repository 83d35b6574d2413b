"""Pieces packed into buffers: which stretches of the disk are zeros, and what goes where in which buffer.

Blocks start on multiples of `align` counted from the start of the first, and end on one or at the end of the disk.
"""

from __future__ import annotations

from instar_core.dataplane.buffers import Buffer
from instar_core.dataplane.refine import GAP
from instar_core.dataplane.sparse import within

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import NamedTuple

    from instar_core.piece import Piece
else:
    from instar_core.record import NamedTuple

BLOCKS = 1024
"""Most blocks of one plan."""


class Block(NamedTuple):
    """A stretch of the disk: zeros (no buffer and no descriptor), in a buffer, or left in a file.

    `at` counts in buffer.data, and is -1 for what is in none. `ranges` are the parts of buffer.data that are not zeros,
    where that was looked for. What is in a buffer may say besides where in a file it came from.
    """

    start: int
    length: int
    buffer: Buffer | None = None
    at: int = -1
    ranges: list[tuple[int, int]] | None = None
    descriptor: int = -1
    offset: int = 0

    @property
    def memory(self) -> Buffer:
        """The buffer, of a block that has one."""
        if self.buffer is None:
            raise ValueError(f"the block at {self.start} is in no buffer")
        return self.buffer

    @property
    def zero(self) -> bool:
        """Whether the block is known to hold only zeros, without looking into it."""
        return self.buffer is None and self.descriptor < 0

    def part(self, start: int, length: int) -> Block:
        """The part of the block from `start` on the disk."""
        by = start - self.start
        if not by and length == self.length:
            return self
        if self.buffer is None:
            return self._replace(start=start, length=length, offset=self.offset + by)
        at = self.at + by
        ranges = None if self.ranges is None else within(self.ranges, at, length)
        return self._replace(start=start, length=length, at=at, ranges=ranges, offset=self.offset + by)


class Plan:
    """What goes into one buffer, and the blocks that it makes with the zero blocks between them."""

    __slots__ = ("blocks", "opened", "pads", "parts", "used")

    def __init__(self) -> None:
        self.blocks: list[Block] = []
        """`at` counts from the start of the buffer, which is not there yet; those in it have length, but no buffer."""
        self.parts: list[tuple[int, Piece]] = []
        """(place in the buffer, piece), each piece cut to what fits."""
        self.pads: list[tuple[int, int]] = []
        """(place in the buffer, length) of zeros."""
        self.used = 0
        self.opened = -1
        """Start on the disk of the block that is being filled."""

    def open(self, start: int, head: int) -> None:
        """A block begins, with `head` bytes of zeros."""
        self.opened = start
        self.blocks.append(Block(start, 0, at=self.used))
        self.pad(head)

    def pad(self, length: int) -> None:
        """Zeros follow in the block."""
        if length:
            self.pads.append((self.used, length))
            self._grow(length)

    def put(self, piece: Piece) -> None:
        """The piece follows in the block."""
        self.parts.append((self.used, piece))
        self._grow(piece.length)

    def _grow(self, length: int) -> None:
        self.used += length
        last = self.blocks[-1]
        self.blocks[-1] = last._replace(length=last.length + length)

    def close(self) -> None:
        """The block is complete."""
        self.opened = -1


def cut(piece: Piece, start: int, length: int) -> Piece:
    """The part of a piece from `start` on the disk."""
    by = start - piece.start
    if not by and length == piece.length:
        return piece
    if piece.coding is not None and piece.coding.whole:
        return piece._replace(start=start, length=length, skip=piece.skip + by)
    return piece._replace(start=start, length=length, offset=piece.offset + by, stored=length if piece.stored else 0)


def _whole_gaps(pieces: Iterator[Piece], origin: int, align: int) -> Iterator[Piece]:
    """The same pieces, but of gaps only the whole units: the rest of a unit that holds something is zeros.

    The last unit of the disk is whole although it may be short.
    """
    held = next(pieces, None)
    while held is not None:
        piece, held = held, next(pieces, None)
        if piece.depth != GAP:
            yield piece
            continue
        start, end = piece.start, piece.start + piece.length
        first = start - (start - origin) % -align
        last = max(first, end - (end - origin) % align) if held is not None else max(first, end)
        for at, stop, depth in ((start, min(first, end), 0), (first, min(last, end), GAP), (last, end, 0)):
            if at < stop:
                yield piece._replace(start=at, length=stop - at, depth=depth)


def never(_: Piece) -> bool:
    """False, of any piece."""
    return False


def plans(
    pieces: Iterator[Piece],
    origin: int,
    *,
    align: int,
    size: int,
    dense: bool = False,
    in_place: Callable[[Piece], bool] = never,
) -> Iterator[Plan]:
    """The plans for pieces that cover the disk from `origin` on, for buffers of `size` bytes (a multiple of `align`).

    With `dense` zero pieces go into the buffers too. Of plain pieces for which `in_place` is true, whole units are left
    in their files. Gaps make no block.
    """
    plan = Plan()
    zeros = -1  # start of a stretch of zeros that has not become a block yet; always aligned
    for piece in _whole_gaps(pieces, origin, align):
        at, end = piece.start, piece.start + piece.length
        if piece.depth == GAP:
            plan.close()
            if zeros >= 0:
                plan.blocks.append(Block(zeros, at - zeros))
                zeros = -1
            continue
        if piece.zero and not dense:
            if plan.opened >= 0:
                step = min(end, at - (at - origin) % -align) - at
                plan.pad(step)
                at += step
                if not (at - origin) % align:
                    plan.close()
            if at < end and zeros < 0:
                zeros = at
            continue
        head = (at - origin) % align if zeros >= 0 else 0
        if zeros >= 0:
            if at - head > zeros:
                plan.blocks.append(Block(zeros, at - head - zeros))
            zeros = -1
        plain = not piece.zero and piece.coding is None
        while at < end:
            kept = plain and in_place(piece)  # the answer may change on the way
            if plan.opened < 0 and (plan.used + align > size or len(plan.blocks) >= BLOCKS):
                yield plan
                plan = Plan()
            if kept and plan.opened < 0 and not head:
                step = (end - at) - (end - at) % align
                if step:
                    plan.blocks.append(
                        Block(at, step, descriptor=piece.descriptor, offset=piece.offset + at - piece.start)
                    )
                    at += step
                    continue
            if plan.opened < 0:
                plan.open(at - head, head)
                head = 0
            step = min(end - at, size - plan.used)
            if kept:
                step = min(step, -(at - origin) % align or step)
            if piece.zero:
                plan.pad(step)
            else:
                plan.put(cut(piece, at, step))
            at += step
            if plan.used == size or (kept and not (at - origin) % align):
                plan.close()
    if zeros >= 0:
        plan.blocks.append(Block(zeros, end - zeros))
    if plan.blocks:
        yield plan
