"""Dirty bitmaps as formats store them: each bit is a piece of the disk, and the lowest of a byte comes first."""

from __future__ import annotations

from instar_core.source import arithmetic_runs
from instar_core.types import Extent, Kind

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from instar_core.types import Span

WORD = 8
"""Bytes looked at together."""
ONES = (1 << 8 * WORD) - 1


def set_runs(data: bytes) -> Iterator[tuple[int, int]]:
    """(first bit, count) of stretches of set bits, ascending; two of them may touch. `data` is whole words of 8 bytes.

    Stretches of equal words cost one step each.
    """
    bits = 8 * WORD
    for index, count, word, _ in arithmetic_runs(data, len(data) // WORD, WORD, 0, ONES, "little"):
        if word == ONES:
            yield index * bits, count * bits
        elif word:
            for at in range(index, index + count):
                yield from word_runs(word, at * bits)


def word_runs(word: int, base: int) -> Iterator[tuple[int, int]]:
    """The stretches of set bits of one number; its lowest bit has the number `base`."""
    while word:
        skip = (word & -word).bit_length() - 1
        word >>= skip
        ones = (~word & word + 1).bit_length() - 1
        yield base + skip, ones
        word >>= ones
        base += skip + ones


def set_bits(data: bytearray, first: int, end: int) -> None:
    """The bits from `first` up to `end` are set."""
    low, high = first >> 3, end >> 3
    head, tail = 0xFF << (first & 7) & 0xFF, (1 << (end & 7)) - 1
    if low == high:
        data[low] |= head & tail
        return
    data[low] |= head
    data[low + 1 : high] = b"\xff" * (high - low - 1)
    if tail:
        data[high] |= tail


def dirty_extents(stretches: Iterable[tuple[int, int]], span: Span) -> Iterator[Extent]:
    """What a map of a bitmap answers: DATA without a place for what is dirty, ZERO for the rest of the span.

    `stretches` are (start, end) in bytes of what is dirty; they ascend, and may touch and reach past the span.
    """
    at, end = span.start, span.start + span.length
    for start, stop in joined(stretches):
        first, last = max(start, at), min(stop, end)
        if first >= last:
            continue
        if first > at:
            yield Extent(at, first - at, Kind.ZERO)
        yield Extent(first, last - first, Kind.DATA)
        at = last
    if at < end:
        yield Extent(at, end - at, Kind.ZERO)


def joined(stretches: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """The same stretches (start, end), with those that touch made one."""
    at = end = -1
    for start, stop in stretches:
        if start != end:
            if end > at:
                yield at, end
            at = start
        end = stop
    if end > at:
        yield at, end
