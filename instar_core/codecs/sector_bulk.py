"""Arithmetic on whole batches of cipher blocks: with numpy where asked for and installed, else with integers.

Both ways give the same bytes; numpy's is many times faster but costs a tenth of a second to import.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NamedTuple

    Buffer = bytes | bytearray | memoryview
else:
    from instar_core.record import NamedTuple

BLOCK = 16
POLYNOMIAL = 0x87
"""x^128 = x^7 + x^2 + x + 1, little-endian: the field of XTS (IEEE 1619)."""


class Bulk(NamedTuple):
    """`xor(a, b)` of equal lengths, words of 8 bytes; `tweaks(first, count)`: for each 16-byte tweak, it and its
    count - 1 successors, valid until the next call; `xor_into(a, b, room)` where that is better than an xor that is
    copied.
    """

    xor: Callable[[Buffer, Buffer], Buffer]
    tweaks: Callable[[bytes, int], Buffer]
    xor_into: Callable[[Buffer, Buffer, Buffer], object] | None = None


def bulk(fast: bool) -> Bulk:
    """The arithmetic; `fast` asks for numpy, which is done without where it is not installed."""
    if fast:
        try:
            import numpy
        except ImportError:
            pass
        else:
            return _with_numpy(numpy)
    return Bulk(_xor, _tweaks)


def _xor(a: Buffer, b: Buffer) -> bytes:
    return (int.from_bytes(a, "little") ^ int.from_bytes(b, "little")).to_bytes(len(a), "little")


def _tweaks(first: bytes, count: int) -> bytes:
    made = []
    overflow = 1 << 8 * BLOCK
    reduce = overflow | POLYNOMIAL
    for at in range(0, len(first), BLOCK):
        tweak = int.from_bytes(first[at : at + BLOCK], "little")
        for _ in range(count):
            made.append(tweak.to_bytes(BLOCK, "little"))
            tweak <<= 1
            if tweak >= overflow:
                tweak ^= reduce
    return b"".join(made)


def _with_numpy(numpy: Any) -> Bulk:
    word = numpy.dtype("<u8")

    def xor(a: Buffer, b: Buffer) -> memoryview:
        made = numpy.frombuffer(a, word) ^ numpy.frombuffer(b, word)
        return memoryview(made).cast("B")

    def xor_into(a: Buffer, b: Buffer, room: Buffer) -> None:
        numpy.bitwise_xor(numpy.frombuffer(a, word), numpy.frombuffer(b, word), out=numpy.frombuffer(room, word))

    return Bulk(xor, _Tweaks(numpy).tweaks, xor_into)


class _Tweaks:
    """Tweaks by numpy, in memory that is used again: new memory for each batch costs more than the arithmetic."""

    STEP = 32
    """Tweaks from one of before at once: few enough that what overflows fits in one reduction."""

    def __init__(self, numpy: Any) -> None:
        self._numpy = numpy
        self._word = numpy.dtype("<u8")
        self._shape = 0, 0
        self._made: Any = None
        self._scratch: tuple[Any, ...] = ()

    def tweaks(self, first: bytes, count: int) -> memoryview:
        """See Bulk."""
        numpy, word = self._numpy, self._word
        lanes = numpy.frombuffer(first, word).reshape(-1, 2)
        step = min(count, self.STEP)
        if self._shape != (len(lanes), count):
            self._shape = len(lanes), count
            self._made = numpy.empty((len(lanes), -(-count // step) * step, 2), word)
            self._scratch = tuple(numpy.empty((len(lanes), step), word) for _ in range(4))
        made = self._made
        shifts = numpy.arange(step, dtype=word)
        low, high = lanes[:, 0:1], lanes[:, 1:2]
        self._times(low, high, shifts, made[:, :step])
        for at in range(step, count, step):
            before = made[:, at - step : at]
            self._times(before[:, :, 0], before[:, :, 1], word.type(step), made[:, at : at + step])
        return memoryview(numpy.ascontiguousarray(made[:, :count]).reshape(-1)).cast("B")

    def _times(self, low: Any, high: Any, shifts: Any, room: Any) -> None:
        """The tweaks times x^shifts, shifts less than 64, are in the room."""
        numpy, one = self._numpy, self._word.type(1)
        over, other, left, right = self._scratch
        against = self._word.type(63) - shifts
        numpy.right_shift(high >> one, against, out=over)
        numpy.left_shift(low, shifts, out=left)
        numpy.left_shift(over, one, out=other)
        numpy.bitwise_xor(over, other, out=right)  # times 0x87, bit by bit: 1 + x + x^2 + x^7
        numpy.left_shift(over, self._word.type(2), out=other)
        numpy.bitwise_xor(right, other, out=right)
        numpy.left_shift(over, self._word.type(7), out=other)
        numpy.bitwise_xor(right, other, out=right)
        numpy.bitwise_xor(left, right, out=room[:, :, 0])
        numpy.right_shift(low >> one, against, out=other)
        numpy.left_shift(high, shifts, out=left)
        numpy.bitwise_or(left, other, out=room[:, :, 1])
