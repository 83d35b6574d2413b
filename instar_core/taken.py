"""Which numbers of a long row were taken already."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

SHARE = 1 << 16
"""Numbers that are marked together."""


class Taken:
    """A growing set of numbers, one bit each: it is as large as the largest of them needs."""

    __slots__ = ("_bits",)

    def __init__(self) -> None:
        self._bits = bytearray()

    def take(self, first: int, count: int) -> Iterator[int]:
        """Marks `count` numbers from `first` on; those that were marked before are told, ascending."""
        end = first + count
        if len(self._bits) * 8 < end:
            self._bits.extend(bytes(-(-end // 8) - len(self._bits)))
        if count == 1:
            if self._bits[first >> 3] >> (first & 7) & 1:
                yield first
            self._bits[first >> 3] |= 1 << (first & 7)
            return
        while first < end:
            stop = min(end, (first // SHARE + 1) * SHARE)
            low, high = first >> 3, -(-stop // 8)
            have = int.from_bytes(self._bits[low:high], "little")
            want = (1 << stop - first) - 1 << (first & 7)
            both = have & want
            if both:
                yield from (number for number in range(first, stop) if both >> (number - low * 8) & 1)
            self._bits[low:high] = (have | want).to_bytes(high - low, "little")
            first = stop
