"""Counting references per unit (cluster, grain, block) of an image in bulk, and comparing them with stored counts.

A page of units whose counts are all equal costs one integer, any other a byte for each unit, compressed when there are
many such pages; counts from 255 on stand in a dictionary. So a fully allocated image of any size costs next to
nothing, and the worst one a byte for each unit that is referenced.
"""

from __future__ import annotations

import zlib

from instar_core.errors import ErrorKind, FormatError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = 1 << 15
"""Units of a page."""

DENSE = 3072
"""Most pages that may be kept as bytes: 96 MiB."""

COMPACT = 256
"""Pages kept as bytes before they are compressed."""

PACKED = 32 << 20
"""Most bytes of compressed pages."""

MANY = 255
"""The byte that stands for this count or more."""

MORE = bytes(min(count + 1, MANY) for count in range(256))
UNIFORM = tuple(bytes([count]) * PAGE for count in range(3))


class ReferenceTally:
    """How often each unit is referenced; units not mentioned have 0. No count passes `ceiling`."""

    __slots__ = ("_again", "_compact_at", "_dense", "_last", "_many", "_packed", "_uniform", "ceiling")

    def __init__(self, ceiling: int) -> None:
        self.ceiling = ceiling
        self._uniform: dict[int, int] = {}
        self._dense: dict[int, bytearray] = {}
        self._packed: dict[int, bytes] = {}
        self._last = -1, b""
        self._many: dict[int, int] = {}
        self._compact_at = COMPACT
        self._again = 0

    def add(self, first: int, count: int = 1) -> list[int]:
        """Every one of `count` units from `first` on has one reference more, but for those at the ceiling: returned."""
        full: list[int] = []
        while count:
            number, start = divmod(first, PAGE)
            some = min(count, PAGE - start)
            before = -1 if number in self._dense or number in self._packed else self._uniform.get(number, 0)
            if some == PAGE and 0 <= before < min(self.ceiling, MANY - 1):
                self._uniform[number] = before + 1
            else:
                self._add_dense(number, start, some, full)
            first += some
            count -= some
        return full

    def _add_dense(self, number: int, start: int, count: int, full: list[int]) -> None:
        page = self._dense.get(number) or self._open(number)
        low = min(self.ceiling, MANY - 1)
        if count == 1:
            if page[start] < low:
                page[start] += 1
                return
        else:
            piece = page[start : start + count]
            if low not in piece and MANY not in piece:
                page[start : start + count] = piece.translate(MORE)
                return
        for index in range(start, start + count):
            value = page[index]
            unit = number * PAGE + index
            if value == MANY:
                value = self._many[unit]
            if value >= self.ceiling:
                full.append(unit)
                continue
            page[index] = min(value + 1, MANY)
            if value + 1 >= MANY:
                self._many[unit] = value + 1

    def _open(self, number: int) -> bytearray:
        if len(self._dense) >= self._compact_at:
            self._compact()
        packed = self._packed.pop(number, None)
        if packed is None:
            page = bytearray([self._uniform.pop(number, 0)]) * PAGE
        else:
            page = bytearray(zlib.decompress(packed))
            self._last = -1, b""
            self._again += 1
        self._dense[number] = page
        return page

    def _compact(self) -> None:
        """Some pages are bytes no more. Raises FormatError (LIMIT)."""
        # References all over the image open the same pages again and again: then more of them stay open.
        wander = self._again > 2 * len(self._packed) > 0 and self._compact_at < DENSE
        for number, page in list(self._dense.items()):
            value = page[0]
            if value != MANY and page.count(value) == PAGE:
                del self._dense[number]
                if value:
                    self._uniform[number] = value
            elif not wander:
                del self._dense[number]
                self._packed[number] = zlib.compress(page, 1)
        if sum(map(len, self._packed.values())) > PACKED:
            raise FormatError("The image refers to more of the file than a check can keep", kind=ErrorKind.LIMIT)
        if wander:
            self._compact_at = min(DENSE, 2 * self._compact_at)
            self._again = 0

    def _page(self, number: int) -> bytes | bytearray | None:
        """The counts of a page, None where they are all equal."""
        page = self._dense.get(number)
        if page is not None:
            return page
        packed = self._packed.get(number)
        if packed is None:
            return None
        if self._last[0] != number:
            self._last = number, zlib.decompress(packed)
        return self._last[1]

    def __getitem__(self, unit: int) -> int:
        number, index = divmod(unit, PAGE)
        page = self._page(number)
        if page is None:
            return self._uniform.get(number, 0)
        return page[index] if page[index] != MANY else self._many[unit]

    def narrow(self, first: int, count: int) -> bytes:
        """The counts of `count` units as bytes, MANY where a count is that or more."""
        parts = []
        while count:
            number, start = divmod(first, PAGE)
            some = min(count, PAGE - start)
            page = self._page(number)
            if page is None:
                value = self._uniform.get(number, 0)
                parts.append(UNIFORM[value][:some] if value < len(UNIFORM) else bytes([value]) * some)
            else:
                parts.append(bytes(page[start : start + some]))
            first += some
            count -= some
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def referenced(self, first: int, count: int) -> Iterator[tuple[int, int]]:
        """(first unit, units) of the pages within a range that may have references, clipped to it, in order."""
        end = first + count
        for number in range(first // PAGE, -(-end // PAGE) if count else 0):
            if number in self._dense or number in self._packed or self._uniform.get(number):
                start = max(first, number * PAGE)
                yield start, min(end, number * PAGE + PAGE) - start


def narrow_table(table: bytes, bits: int) -> bytes:
    """A table of big-endian counters of `bits` bits (1 to 64, a power of two) as bytes, MANY where one is that or more.

    Counters narrower than a byte stand in it from its least significant bit on.
    """
    if bits == 8:
        return table
    if bits < 8:
        each = 8 // bits
        made = bytearray(len(table) * each)
        for place in range(each):
            made[place::each] = table.translate(_digit(bits, place))
        return bytes(made)
    width = bits // 8
    low = table[width - 1 :: width]
    zeros = bytes(len(low))
    for place in range(width - 1):
        if table[place::width] != zeros:
            break
    else:
        return low
    return bytes(
        min(int.from_bytes(table[at : at + width], "big"), MANY) for at in range(0, len(table) - width + 1, width)
    )


def wide_entry(table: bytes, bits: int, index: int) -> int:
    """One counter of a table as narrow_table takes it, exactly."""
    if bits >= 8:
        width = bits // 8
        return int.from_bytes(table[index * width : (index + 1) * width], "big")
    each = 8 // bits
    return table[index // each] >> bits * (index % each) & (1 << bits) - 1


def _digit(bits: int, place: int) -> bytes:
    return bytes(byte >> bits * place & (1 << bits) - 1 for byte in range(256))


def unequal(left: bytes, right: bytes) -> Iterator[int]:
    """Indices at which two byte strings of one length differ or hold MANY (where bytes alone cannot tell)."""
    many = bytes([MANY])
    if left == right and many not in left:
        return
    size = 512
    for start in range(0, len(left), size):
        one, other = left[start : start + size], right[start : start + size]
        if one == other and many not in one:
            continue
        for index in range(len(one)):
            if one[index] != other[index] or one[index] == MANY:
                yield start + index
