"""Where there is something: zeros in buffers, holes in files."""

from __future__ import annotations

import errno
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

GRAIN = 4096
"""Zeros are looked for in steps of this: what file systems can leave out."""

WIDE = 64 << 10
ZEROS = bytes(1 << 20)
"""Zeros to compare and write with: making them anew costs far more than using them."""

ENDLESS = 1 << 63
"""Behind every file."""


def is_zero(buffer: bytes | bytearray, start: int, length: int) -> bool:
    """Whether this part of the buffer holds only zeros."""
    # startswith compares by memcmp; == of memoryviews is 40 times slower, and a slice of a bytearray copies.
    at, end = start, start + length
    starts = buffer.startswith
    while at < end:
        step = min(len(ZEROS), end - at)
        if not starts(ZEROS if step == len(ZEROS) else memoryview(ZEROS)[:step], at):
            return False
        at += step
    return True


def data_ranges(
    buffer: bytes | bytearray, start: int, length: int, granularity: int = GRAIN, phase: int = 0
) -> list[tuple[int, int]]:
    """The parts of buffer[start : start + length] that are not zeros, as ascending (offset in the buffer, length).

    Runs of zeros shorter than `granularity` count as data; zeros are looked for in blocks of at most GRAIN bytes, whose
    boundaries are where (offset - start + phase) is a multiple of the block.
    """
    if not length:
        return []
    block = min(granularity, GRAIN)
    starts = buffer.startswith
    wider = WIDE // block
    zeros, wide = ZEROS[:block], ZEROS[: wider * block]
    end = start + length
    found: list[tuple[int, int]] = []
    data = -1
    at = start
    first = -phase % block
    if first:
        step = min(first, length)
        if not is_zero(buffer, at, step):
            data = at
        at += step
    count = (end - at) // block
    marks = _marks(buffer, at, count, block)
    index = 0
    while index < count:
        # Most blocks of data are passed over here, not looked at one by one.
        zero = marks.find(0, index)
        if zero < 0:
            zero = count
        if zero > index or not starts(zeros, at + index * block):
            if data < 0:
                data = at + index * block
            index = max(zero, index + 1)
            continue
        if data >= 0:
            found.append((data, at + index * block - data))
            data = -1
        index += 1
        while index + wider <= count and starts(wide, at + index * block):
            index += wider
    at += count * block
    if at < end:
        if is_zero(buffer, at, end - at):
            if data >= 0:
                found.append((data, at - data))
                data = -1
        elif data < 0:
            data = at
    if data >= 0:
        found.append((data, end - data))
    return joined(found, granularity) if granularity > block else found


def _marks(buffer: bytes | bytearray, at: int, count: int, block: int) -> bytes:
    """A byte for each block: not 0 only where the block is not zeros, as two bytes of it tell."""
    end = at + count * block
    first, middle = (int.from_bytes(buffer[at + distance : end : block]) for distance in (0, block // 2))
    return (first | middle).to_bytes(count)


def joined(ranges: list[tuple[int, int]], gap: int) -> list[tuple[int, int]]:
    """The same ranges, those less than `gap` bytes apart made one."""
    made: list[tuple[int, int]] = []
    for at, length in ranges:
        if made and at - (made[-1][0] + made[-1][1]) < gap:
            made[-1] = (made[-1][0], at + length - made[-1][0])
        else:
            made.append((at, length))
    return made


def within(ranges: list[tuple[int, int]], at: int, length: int) -> list[tuple[int, int]]:
    """The parts of ascending ranges that lie in [at, at + length)."""
    end = at + length
    return [(max(at, a), min(end, a + n) - max(at, a)) for a, n in ranges if a < end and a + n > at]


def rounded(ranges: list[tuple[int, int]], origin: int, unit: int, end: int) -> list[tuple[int, int]]:
    """The ranges widened to multiples of `unit` counted from `origin`, up to `end`, those that then touch made one."""
    made: list[tuple[int, int]] = []
    for at, length in ranges:
        first = at - (at - origin) % unit
        last = min(end, at + length + (origin - at - length) % unit)
        if made and first <= made[-1][0] + made[-1][1]:
            made[-1] = (made[-1][0], last - made[-1][0])
        else:
            made.append((first, last - first))
    return made


def file_extents(descriptor: int, start: int, length: int, least: int = 0) -> Iterator[tuple[int, int, bool]]:
    """The range of a file as (offset, length, is data), ascending and covering it; past the end of the file is a hole.

    Holes shorter than `least` bytes are given as data. A file that does not tell its holes is all data.
    """
    at, end = start, start + length
    begun = -1
    while at < end:
        data, stop = _stretch(descriptor, at)
        stop = min(stop, end) if stop > at else end  # a file that changes meanwhile must not hold us here
        if data or (stop - at < least and stop < end):
            begun = at if begun < 0 else begun
        else:
            if begun >= 0:
                yield begun, at - begun, True
                begun = -1
            yield at, stop - at, False
        at = stop
    if begun >= 0:
        yield begun, end - begun, True


class Stretches:
    """What files have said of their holes: of each the last hole and the last data that were asked about.

    Of files in many pieces, one answer goes for many of them. A file that changes meanwhile may look as it did.
    """

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: dict[int, dict[bool, tuple[int, int]]] = {}

    def data(self, descriptor: int, start: int, length: int) -> bool | None:
        """Whether the whole range of the file is data (True) or a hole (False); None where it is some of both."""
        end = start + length
        known = self._known.setdefault(descriptor, {})
        for data, (first, last) in known.items():
            if first <= start and end <= last:
                return data
        data, last = _stretch(descriptor, start)
        first, end_known = known.get(data, (start, start))
        if first <= last and start <= end_known:  # both are right, and so is what they make together
            known[data] = min(first, start), max(last, end_known)
        else:
            known[data] = start, last
        return data if end <= last else None


def _stretch(descriptor: int, at: int) -> tuple[bool, int]:
    """Whether this byte of a file is data, and where what it is in ends; past the end of the file is a hole."""
    try:
        data = os.lseek(descriptor, at, os.SEEK_DATA)
        return data == at, os.lseek(descriptor, at, os.SEEK_HOLE) if data == at else data
    except OSError as error:
        return error.errno != errno.ENXIO, ENDLESS
