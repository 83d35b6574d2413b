"""Writing the grain tables of hosted sparse extents: the layout that qemu-img and VMware give them."""

from __future__ import annotations

from array import array
from sys import byteorder

from instar_core import limits as core_limits
from instar_core.errors import ErrorKind, FormatError
from instar_core.types import Put
from instar_vmdk import limits
from instar_vmdk.layout import SECTOR

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import NamedTuple
else:
    from instar_core.record import NamedTuple

GRAIN = 128
"""Sectors of a grain, 64 KiB."""
ENTRIES = 512
"""Entries of a grain table."""
TABLE = ENTRIES * 4 // SECTOR
"""Sectors of a grain table."""
NEAR = 4096
"""Entries without a grain that are rather put than skipped."""


class Layout(NamedTuple):
    """Where the metadata of a sparse extent lies, in sectors: both directories, each before its tables."""

    tables: int
    rgd: int
    gd: int
    overhead: int

    @property
    def directory(self) -> int:
        """Sectors of a grain directory."""
        return -(-self.tables * 4 // SECTOR)


def layout(size: int) -> Layout:
    """The metadata of an extent of `size` bytes.

    Raises FormatError (USAGE) for sizes that 32-bit entries cannot address.
    """
    tables = -(-size // (ENTRIES * GRAIN * SECTOR))
    if tables > limits.DIRECTORY_ENTRIES:
        raise FormatError("the image size is too large for file format 'vmdk'", kind=ErrorKind.USAGE)
    rgd = 1 + limits.EMBEDDED
    one = -(-tables * 4 // SECTOR) + tables * TABLE
    overhead = -(-(rgd + 2 * one) // GRAIN) * GRAIN
    return Layout(tables, rgd, rgd + one, overhead)


def directories(device: int, made: Layout) -> Iterator[Put]:
    """Both grain directories, in pieces: every table has its place from the start."""
    for start in (made.rgd, made.gd):
        first = start + made.directory
        for at in range(0, made.tables, core_limits.PUT // 4):
            end = min(made.tables, at + core_limits.PUT // 4)
            places = array("I", range(first + at * TABLE, first + end * TABLE, TABLE))
            yield Put(start * SECTOR + at * 4, little(places), device)


def little(entries: array[int]) -> bytes:
    """Entries as a file has them."""
    if byteorder == "big":
        entries = entries[:]
        entries.byteswap()
    return entries.tobytes()


def addressed(sector: int) -> int:
    """`sector`, if a table entry can hold it. Raises FormatError (LIMIT) past 2 TiB of one file."""
    if sector >= limits.SECTORS:
        raise FormatError("an extent of a VMDK image cannot grow past 2 TiB", kind=ErrorKind.LIMIT)
    return sector


class TableWriter:
    """Entries of adjacent grain tables, in ascending order, gathered and put into both copies of the tables."""

    __slots__ = ("_base", "_device", "_entries", "_places")

    def __init__(self, device: int, made: Layout) -> None:
        self._device = device
        self._places = [(start + made.directory) * SECTOR for start in (made.rgd, made.gd)]
        self._base = 0
        self._entries = array("I")

    def record(self, grain: int, count: int, sector: int, step: int) -> Iterator[Put]:
        """Grains `grain` on lie at `sector` on, each `step` sectors after the one before."""
        addressed(sector + step * (count - 1))
        while count:
            gap = grain - self._base - len(self._entries)
            if gap > NEAR or len(self._entries) + max(gap, 0) >= limits.WINDOW or not self._entries:
                yield from self.flush()
                self._base = grain
                gap = 0
            length = min(count, limits.WINDOW - len(self._entries) - gap)
            self._entries.frombytes(bytes(4 * gap))
            self._entries.extend(range(sector, sector + step * length, step) if step else [sector] * length)
            grain += length
            count -= length
            sector += step * length

    def flush(self) -> Iterator[Put]:
        """Puts what has been gathered."""
        if self._entries:
            data = little(self._entries)
            for place in self._places:
                yield Put(place + self._base * 4, data, self._device)
        self._entries = array("I")
