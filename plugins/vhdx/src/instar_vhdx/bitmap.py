"""Sector bitmaps: which sectors of a partially present block are in the file ([MS-VHDX] 2.5.1.2)."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

PIECE = 64
"""Bytes that are compared at once with a uniform stretch."""
UNIFORM = {bytes(PIECE): False, b"\xff" * PIECE: True}
BYTES = {0: False, 0xFF: True}


def runs(data: bytes, first: int, count: int) -> Iterator[tuple[int, bool]]:
    """How many sectors in turn are present or not, of the `count` whose bits begin at bit `first`, lowest bits first.

    Neighbouring runs differ.
    """
    length, present = 0, False
    for some, what in _pieces(data, first, first + count):
        if what == present:
            length += some
            continue
        if length:
            yield length, present
        length, present = some, what
    if length:
        yield length, present


def _pieces(data: bytes, at: int, end: int) -> Iterator[tuple[int, bool]]:
    while at < end:
        byte, bit = divmod(at, 8)
        if not bit and end - at >= PIECE * 8:
            whole = UNIFORM.get(data[byte : byte + PIECE])
            if whole is not None:
                yield PIECE * 8, whole
                at += PIECE * 8
                continue
        stop = min(end, (byte + 1) * 8)
        alike = BYTES.get(data[byte])
        if alike is not None:
            yield stop - at, alike
        else:
            for number in range(bit, bit + stop - at):
                yield 1, bool(data[byte] >> number & 1)
        at = stop
