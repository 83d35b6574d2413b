"""What test images lie in: files in memory that may be huge and sparse, files on disk, and both with bytes changed."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Protocol

from instar_core.source import Source

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

PAGE = 16 << 10


class Medium(Protocol):
    """A file to read from: its size, the bytes allocated for it, and reads that end where it ends."""

    size: int

    @property
    def allocated(self) -> int:
        """Bytes allocated for it."""
        ...

    def pread(self, length: int, offset: int) -> bytes:
        """The bytes at `offset`, fewer where the file ends."""
        ...


class Disk:
    """A file in memory. What was never written is a hole, reads as zeros and costs nothing."""

    __slots__ = ("pages", "size")

    def __init__(self, data: bytes = b"") -> None:
        self.pages: dict[int, bytearray] = {}
        self.size = 0
        self.write(0, data)

    @property
    def allocated(self) -> int:
        """Bytes of the pages that are there."""
        return len(self.pages) * PAGE

    def copy(self) -> Disk:
        """An independent file with the same content."""
        made = Disk()
        made.size = self.size
        made.pages = {number: bytearray(page) for number, page in self.pages.items()}
        return made

    def pread(self, length: int, offset: int) -> bytes:
        """The bytes at `offset`, fewer where the file ends."""
        return self.read(offset, max(0, min(length, self.size - offset)))

    def read(self, offset: int, length: int) -> bytes:
        """The bytes at `offset`; zeros beyond the end."""
        parts = []
        while length:
            number, skip = divmod(offset, PAGE)
            some = min(length, PAGE - skip)
            page = self.pages.get(number)
            parts.append(bytes(some) if page is None else bytes(page[skip : skip + some]))
            offset += some
            length -= some
        return b"".join(parts)

    def write(self, offset: int, data: bytes) -> None:
        """The bytes are at `offset`; the file is as long as that needs."""
        self.size = max(self.size, offset + len(data)) if data else self.size
        at = 0
        while at < len(data):
            number, skip = divmod(offset + at, PAGE)
            some = data[at : at + PAGE - skip]
            page = self.pages.get(number)
            if page is None:
                page = self.pages[number] = bytearray(PAGE)
            page[skip : skip + len(some)] = some
            at += len(some)

    def zero(self, offset: int, length: int) -> None:
        """The range reads as zeros; the file is as long as that needs."""
        self.size = max(self.size, offset + length)
        self._clear(offset, offset + length)

    def truncate(self, size: int) -> None:
        """The file has this size."""
        if size < self.size:
            self._clear(size, self.size)
        self.size = size

    def _clear(self, start: int, end: int) -> None:
        for number in [number for number in self.pages if number * PAGE < end and (number + 1) * PAGE > start]:
            first, last = max(start - number * PAGE, 0), min(end - number * PAGE, PAGE)
            if last - first == PAGE:
                del self.pages[number]
            else:
                self.pages[number][first:last] = bytes(last - first)

    def blank(self, start: int, length: int) -> bool:
        """Whether nothing was ever written in the range."""
        first, last = start // PAGE, (start + length - 1) // PAGE
        if last - first > len(self.pages):
            return not any(first <= number <= last for number in self.pages)
        return not any(number in self.pages for number in range(first, last + 1))

    def ranges(self) -> Iterator[tuple[int, int]]:
        """Start and length of what was written, rounded to pages, ascending."""
        start = end = -1
        for number in sorted(self.pages):
            if number != end:
                if end > 0:
                    yield start * PAGE, (end - start) * PAGE
                start = number
            end = number + 1
        if end > 0:
            yield start * PAGE, (end - start) * PAGE


class File:
    """A file on disk, open for reading until it is closed."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        facts = os.fstat(self._descriptor)
        self.size = facts.st_size
        self.allocated = facts.st_blocks * 512

    def pread(self, length: int, offset: int) -> bytes:
        """The bytes at `offset`, fewer where the file ends."""
        return os.pread(self._descriptor, length, offset)

    def close(self) -> None:
        """The file is closed."""
        os.close(self._descriptor)


class Patched:
    """A medium with other bytes in some places, and perhaps another size."""

    def __init__(self, base: Medium, size: int, patches: Sequence[tuple[int, bytes]]) -> None:
        self.base = base
        self.size = size
        self.patches = tuple(patches)

    @property
    def allocated(self) -> int:
        """As the file beneath."""
        return min(self.base.allocated, self.size)

    def pread(self, length: int, offset: int) -> bytes:
        """The bytes at `offset`, fewer where the file ends."""
        length = max(0, min(length, self.size - offset))
        below = self.base.pread(length, offset)
        data = bytearray(below + bytes(length - len(below)))
        for start, patch in self.patches:
            first, last = max(start, offset), min(start + len(patch), offset + length)
            if first < last:
                data[first - offset : last - offset] = patch[first - start : last - start]
        return bytes(data)


class Watched(Source):
    """A source that remembers which ranges it was asked for: what a hook reads is the image's metadata."""

    __slots__ = ("asked",)

    def __init__(self, medium: Medium) -> None:
        super().__init__(medium.pread, medium.size, medium.allocated)
        self.asked: dict[tuple[int, int], None] = {}

    def read(self, offset: int, length: int, *, pad: bool = False) -> bytes:
        """As Source.read."""
        self.asked[offset, length] = None
        return super().read(offset, length, pad=pad)


def source(medium: Medium) -> Source:
    """What a hook reads from."""
    return Source(medium.pread, medium.size, medium.allocated)
