"""Where two disks do not read the same: what of the first has to be written so that it stays when the second takes the
place of what lies below it."""

from __future__ import annotations

from collections import deque

from instar_core.dataplane.content import blocks
from instar_core.dataplane.pairing import BARE, OPEN, SAME, Stretch
from instar_core.dataplane.plans import cut
from instar_core.dataplane.sparse import GRAIN, is_zero
from instar_core.types import Kind, Run

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence

    from instar_core.dataplane.coding import CodecPool
    from instar_core.dataplane.plans import Block
    from instar_core.piece import Piece

BLOCK = 2 << 20
"""Read and compared at once."""

BATCH = 64 << 20
"""Bytes that are compared before the first of them is written: what differs is read again, from the page cache."""

PARTS = 4096
"""Most stretches of a batch."""


class Bare:
    """Where zeros need not be written, since from now on the disk reads as zeros there by itself."""

    def __init__(self) -> None:
        self._spans: deque[tuple[int, int]] = deque()

    def add(self, start: int, stop: int) -> None:
        """The stretch, which lies after all others, is bare."""
        self._spans.append((start, stop))

    def clothed(self, runs: Sequence[Run]) -> list[Run]:
        """The runs, which come after all that were given before, without zeros on bare stretches."""
        spans = self._spans
        made: list[Run] = []
        for run in runs:
            if run.kind != Kind.ZERO:
                made.append(run)
                continue
            at, end = run.start, run.start + run.length
            while spans and spans[0][0] < end:  # one thread may add at the other end meanwhile
                start, stop = spans[0]
                if at < start:
                    made.append(Run(at, start - at, Kind.ZERO))
                at = max(at, min(stop, end))
                if stop > end:
                    break
                spans.popleft()
            if at < end:
                made.append(Run(at, end - at, Kind.ZERO))
        return made


def differing(stretches: Iterator[Stretch], unit: int, pool: CodecPool, bare: Bare) -> Generator[Piece, None, None]:
    """The pieces of the first disk that are to be written, ascending, in whole units.

    What lies over zeros is given without being read: bare says where that is. Coded pieces are decoded by `pool`.
    Raises FormatError and DeviceError.
    """
    batch: list[Stretch] = []
    held = 0
    for whole in stretches:
        for stretch in _bites(whole, unit):
            if stretch.known == BARE:
                yield from _unequal(batch, unit, pool)
                batch, held = [], 0
                bare.add(stretch.start, -(-stretch.stop // unit) * unit)  # a writer may pad the last unit
                for old, _, _ in stretch.parts:
                    yield old
                continue
            batch.append(stretch)
            held += stretch.stop - stretch.start
            if held >= BATCH or len(batch) >= PARTS:
                yield from _unequal(batch, unit, pool)
                batch, held = [], 0
    yield from _unequal(batch, unit, pool)


def _bites(stretch: Stretch, unit: int) -> Iterator[Stretch]:
    """The same stretch in pieces that fit into a batch, if it is to be read at all."""
    step = max(unit, BATCH // unit * unit)
    if stretch.known != OPEN or stretch.stop - stretch.start <= step:
        yield stretch
        return
    ((old, new, known),) = stretch.parts  # only a single unit has several
    for at in range(stretch.start, stretch.stop, step):
        size = min(step, stretch.stop - at)
        yield Stretch(at, at + size, OPEN, ((cut(old, at, size), cut(new, at, size), known),))


def _unequal(batch: list[Stretch], unit: int, pool: CodecPool) -> Iterator[Piece]:
    """The pieces of the stretches' units in which the disks differ."""
    if not batch:
        return
    parts = [part for stretch in batch for part in stretch.parts]
    found = iter(_joined(_compared(batch, unit, pool)))
    start, stop = next(found, (0, 0))
    for old, _, _ in parts:
        at, end = old.start, old.start + old.length
        while stop and stop <= at:
            start, stop = next(found, (0, 0))
        while stop and start < end:
            first, last = max(at, start), min(end, stop)
            yield cut(old, first, last - first)
            if stop > end:
                break
            start, stop = next(found, (0, 0))


def _joined(found: Iterator[tuple[int, int]]) -> list[tuple[int, int]]:
    """The same ascending ranges, those that touch or overlap made one."""
    made: list[tuple[int, int]] = []
    for start, stop in found:
        if made and start <= made[-1][1]:
            made[-1] = made[-1][0], max(stop, made[-1][1])
        else:
            made.append((start, stop))
    return made


def _compared(batch: list[Stretch], unit: int, pool: CodecPool) -> Iterator[tuple[int, int]]:
    """Ranges of whole units in which the disks differ."""
    start, end = batch[0].start, batch[-1].stop
    streams = blocks(_told(batch, 0), pool, BLOCK, start, end), blocks(_told(batch, 1), pool, BLOCK, start, end)
    step = -(-GRAIN // unit) * unit
    try:
        for left, right, first, last in _side_by_side(streams, start, end):
            if _equal(left, right, first, last):
                continue
            at = first
            while at < last:
                floor = at - at % step
                stop = min(last, floor + step)
                if not _equal(left, right, at, stop):
                    yield floor, floor + step
                at = stop
    finally:
        for stream in streams:
            stream.close()


def _told(batch: list[Stretch], side: int) -> Iterator[Piece]:
    """One disk's pieces of the stretches, but for what stays the same."""
    for stretch in batch:
        for part in stretch.parts:
            if part[2] != SAME:
                yield part[1] if side else part[0]


def _side_by_side(
    streams: tuple[Generator[Block, None, None], Generator[Block, None, None]], start: int, end: int
) -> Iterator[tuple[Block, Block, int, int]]:
    """Blocks of both disks that lie at the same place, with the start and the end of that place."""
    left, right = next(streams[0]), next(streams[1])
    at = start
    while True:
        ends = left.start + left.length, right.start + right.length
        stop = min(ends)
        yield left, right, at, stop
        if stop >= end:
            return
        at = stop
        if ends[0] == stop:
            left = next(streams[0])
        if ends[1] == stop:
            right = next(streams[1])


def _equal(left: Block, right: Block, start: int, stop: int) -> bool:
    """Whether two blocks hold the same from start to stop."""
    length = stop - start
    if left.zero or right.zero:
        other = right if left.zero else left
        return other.zero or is_zero(other.memory.data, other.at + start - other.start, length)
    view = memoryview(right.memory.data)
    base = right.at + start - right.start
    # startswith compares by memcmp; == of memoryviews goes byte by byte.
    return left.memory.data.startswith(view[base : base + length], left.at + start - left.start)
