"""What a plugin reads from: bounded, positional, cached reads of the devices that the host opened."""

from __future__ import annotations

import os
from struct import Struct

from instar_core import limits
from instar_core.errors import ErrorKind, FormatError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from typing import Any

    Page = tuple[bytes, int]
    """What was read with it, and where the page begins in that."""

SMALL_TABLE = 1024
SCAN = 256
SKIPPED = 1
"""Pages that may be left out by reads that still go forward."""
CODES = {1: "B", 2: "H", 4: "I", 8: "Q"}


class Source:
    """One device: `size` bytes, of which the host's file system keeps `allocated` (0 where it cannot tell)."""

    __slots__ = ("_next", "_pages", "_pread", "_reach", "allocated", "size")

    def __init__(self, pread: Callable[[int, int], bytes], size: int, allocated: int = 0) -> None:
        self._pread = pread
        self.size = size
        self.allocated = allocated
        self._pages: dict[int, Page] = {}
        self._next = 0
        self._reach = 0

    def read(self, offset: int, length: int, *, pad: bool = False) -> bytes:
        """The `length` bytes at `offset`; with `pad`, what lies past the end reads as zeros.

        Raises FormatError (TRUNCATED) without `pad`, and (LIMIT) for more than limits.READ_ONCE.
        """
        if length > limits.READ_ONCE or length < 0 or offset < 0:
            raise FormatError(
                f"{length} bytes at {offset} are more than may be read", kind=ErrorKind.LIMIT, offset=offset
            )
        if offset + length > self.size:
            if not pad:
                raise FormatError(
                    f"{length} bytes wanted at {offset}, but the file ends at {self.size}",
                    kind=ErrorKind.TRUNCATED,
                    offset=offset,
                )
            have = max(0, min(length, self.size - offset))
            return (self.read(offset, have) if have else b"") + bytes(length - have)
        first = offset // limits.PAGE
        last = (offset + length - 1) // limits.PAGE if length else first
        if last > first + 1:
            return self._whole(offset, length)
        data, base = self._pages.get(first) or self._missed(first)
        start = base + offset - first * limits.PAGE
        if last > first:
            behind, base_behind = self._pages.get(last) or self._missed(last)
            if behind is not data:
                end = base_behind + offset + length - last * limits.PAGE
                return data[start : base + limits.PAGE] + behind[base_behind:end]
        return data[start : start + length]

    def unpack(self, layout: Struct, offset: int, *, pad: bool = False) -> tuple[Any, ...]:
        """The fields that `layout` names, read at `offset`."""
        return layout.unpack(self.read(offset, layout.size, pad=pad))

    def table(self, width: int, offset: int, count: int, *, big: bool = True, pad: bool = False) -> Sequence[int]:
        """`count` unsigned integers of `width` bytes (1, 2, 4 or 8), byte-swapped, as one sequence."""
        data = self.read(offset, width * count, pad=pad)
        code = CODES[width]
        if count <= SMALL_TABLE:
            return Struct(f"{'>' if big else '<'}{count}{code}").unpack(data)
        import sys
        from array import array

        made = array(code, data)
        if big == (sys.byteorder == "little"):
            made.byteswap()
        return made

    def runs(
        self, offset: int, count: int, width: int, stride: int, *, mask: int = 0, big: bool = True, pad: bool = False
    ) -> Iterator[tuple[int, int, int, int]]:
        """Arithmetic runs of a table, as (index, count, first entry, step), covering it in order.

        The step is `stride` or 0. Entries are unsigned integers of `width` bytes (4, 8 or 16), of which only the
        bits in `mask` count (0: all). Runs are as long as they can be.
        """
        data = self.read(offset, width * count, pad=pad)
        pieces = arithmetic_runs(data, count, width, stride, mask or (1 << 8 * width) - 1, "big" if big else "little")
        return join(pieces, stride)

    def _missed(self, number: int) -> Page:
        """A page that is not kept is read and kept, and the more behind it the longer reads have gone forward.

        A read by a guest costs more than copying ten pages does.
        """
        onward = 0 <= number - self._next <= SKIPPED
        data = self._pages_from(number, min(2 * self._reach or 1, limits.PAGES_AHEAD) if onward else 1)
        self._reach = -(-len(data) // limits.PAGE)
        self._next = number + self._reach
        for index in range(self._reach):
            self._pages[number + index] = data, index * limits.PAGE
        while len(self._pages) > limits.PAGES:
            del self._pages[next(iter(self._pages))]
        return data, 0

    def _pages_from(self, number: int, count: int) -> bytes:
        """At most so many pages, and at least the first: what lies behind it may be bad, or gone."""
        start = number * limits.PAGE
        length = min(count * limits.PAGE, self.size - start)
        if count > 1:
            data = self._pread(length, start)
            if len(data) < length:
                data = data[: len(data) // limits.PAGE * limits.PAGE]
            if data:
                return data
        return self._whole(start, min(limits.PAGE, length))

    def _whole(self, offset: int, length: int) -> bytes:
        data = self._pread(length, offset)
        if len(data) == length:
            return data
        parts = [data]
        have = len(data)
        while have < length:
            data = self._pread(length - have, offset + have)
            if not data:
                raise FormatError("the file became shorter while it was read", kind=ErrorKind.IO, offset=offset + have)
            parts.append(data)
            have += len(data)
        return b"".join(parts)


def descriptor_source(descriptor: int, size: int, allocated: int = 0) -> Source:
    """A source that reads an open file by pread, without moving its position."""

    def pread(length: int, offset: int) -> bytes:
        return os.pread(descriptor, length, offset)

    return Source(pread, size, allocated)


def bytes_source(data: bytes) -> Source:
    """A source over bytes in memory."""
    return Source(lambda length, offset: data[offset : offset + length], len(data), len(data))


class Image:
    """What a hook reads: device 0 is the image itself; further ones were named by instar_info and opened by the
    host."""

    __slots__ = ("devices", "options")

    def __init__(self, devices: Sequence[Source], options: Mapping[str, Any] | None = None) -> None:
        self.devices = tuple(devices)
        self.options = options or {}

    @property
    def main(self) -> Source:
        """Device 0."""
        return self.devices[0]


def arithmetic_runs(
    data: bytes, count: int, width: int, stride: int, mask: int, order: str
) -> Iterator[tuple[int, int, int, int]]:
    """Runs of a table in memory, not yet joined; see Source.runs."""
    whole = _uniform(data, count, width, stride, mask, order)
    if whole:
        yield (0, count, *whole)
        return
    for start in range(0, count, SCAN):
        size = min(SCAN, count - start)
        chunk = data[start * width : (start + size) * width]
        found = _uniform(chunk, size, width, stride, mask, order)
        if found:
            yield (start, size, *found)
            continue
        entries = _entries(chunk, size, width, order)
        for index in range(size):
            yield start + index, 1, entries[index] & mask, 0


def _entries(chunk: bytes, count: int, width: int, order: str) -> Sequence[int]:
    if width == 16:
        return [int.from_bytes(chunk[at : at + 16], order) for at in range(0, 16 * count, 16)]  # type: ignore[arg-type]
    return Struct(f"{'>' if order == 'big' else '<'}{count}{CODES[width]}").unpack(chunk)


_templates: dict[tuple[int, int, str], tuple[int, int]] = {}


def _template(count: int, width: int, order: str) -> tuple[int, int]:
    """Big integers that as tables read 1, 1, 1, … and 0, 1, 2, …"""
    key = count, width, order
    made = _templates.get(key)
    if made is None:
        ones = int.from_bytes((1).to_bytes(width, order) * count, order)  # type: ignore[arg-type]
        ramp = int.from_bytes(
            b"".join(index.to_bytes(width, order) for index in range(count)),  # type: ignore[arg-type]
            order,  # type: ignore[arg-type]
        )
        if len(_templates) >= 8:
            _templates.clear()
        made = _templates[key] = ones, ramp
    return made


def _uniform(data: bytes, count: int, width: int, stride: int, mask: int, order: str) -> tuple[int, int] | None:
    """(first entry, step) if the whole table is one run, by big-integer comparison."""
    everything = (1 << 8 * width) - 1
    first = int.from_bytes(data[:width], order) & mask  # type: ignore[arg-type]
    if mask == everything and data == data[:width] * count:
        return first, 0
    last = int.from_bytes(data[-width:], order) & mask  # type: ignore[arg-type]
    step = stride if last != first else 0
    if last != first + step * (count - 1):
        return None
    table = int.from_bytes(data, order)  # type: ignore[arg-type]
    ones, ramp = _template(count, width, order)
    if mask != everything:
        table &= ones * mask
    return (first, step) if table == first * ones + step * ramp else None


def join(pieces: Iterator[tuple[int, int, int, int]], stride: int | None = None) -> Iterator[tuple[int, int, int, int]]:
    """The same runs, with neighbours that continue one another made one."""
    at, length, first, step = -1, 0, 0, 0
    for index, count, value, by in pieces:
        if length:
            if count == 1:
                want = value - (first + step * (length - 1))
                if (length == 1 and want in (0, stride)) or (length > 1 and want == step):
                    step = want if length == 1 else step
                    length += 1
                    continue
            elif (length == 1 or by == step) and value == first + (by if length == 1 else step) * length:
                step = by
                length += count
                continue
            yield at, length, first, step
        at, length, first, step = index, count, value, by
    if length:
        yield at, length, first, step
