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
    count - 1 successors; `xor_into(a, b, room)` where that is better than an xor that is copied."""

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

    def tweaks(first: bytes, count: int) -> memoryview:
        lanes = numpy.frombuffer(first, word).reshape(-1, 2)
        made = numpy.empty((len(lanes), count, 2), word)
        made[:, 0] = lanes
        have = 1
        while have < count:
            # Times x^step, all known tweaks at once. The step is bounded so that what overflows fits in one reduction.
            step = min(have, 32)
            new = min(step, count - have)
            low, high = made[:, have - step : have - step + new, 0], made[:, have - step : have - step + new, 1]
            over = high >> word.type(64 - step)
            over ^= (over << word.type(1)) ^ (over << word.type(2)) ^ (over << word.type(7))
            made[:, have : have + new, 0] = (low << word.type(step)) ^ over
            made[:, have : have + new, 1] = (high << word.type(step)) | (low >> word.type(64 - step))
            have += new
        return memoryview(made.reshape(-1)).cast("B")

    def xor_into(a: Buffer, b: Buffer, room: Buffer) -> None:
        numpy.bitwise_xor(numpy.frombuffer(a, word), numpy.frombuffer(b, word), out=numpy.frombuffer(room, word))

    return Bulk(xor, tweaks, xor_into)
