"""Writing a dynamic or differencing disk: blocks one after the other behind header and table."""

from __future__ import annotations

from instar_core import limits as core_limits
from instar_core.errors import ErrorKind, FormatError
from instar_core.types import Barrier, Copy, Geometry, Kind, Put, Truncate, Zero
from instar_vpc.layout import FOOTER, SECTOR, UNUSED, bitmap_size
from instar_vpc.newimage import BLOCK, HEADER_AT, TABLE_AT, footer, header
from instar_vpc.tablewriter import TableWriter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from instar_core.types import Edit, Run
    from instar_vpc.choices import Choices

GRAIN = 8 * SECTOR
"""What is told apart over a parent: a byte of the sector bitmap."""
BITMAP = bitmap_size(BLOCK)
WHOLE = b"\xff" * BITMAP
"""Bitmap of a block that hides its parent. A disk without one has it for all its blocks, as from qemu-img."""


class Filling:
    """Blocks in the making. Over a parent the bitmap of the last one is still open: more of it may come."""

    __slots__ = ("_bitmap", "_block", "_differencing", "_table", "next")

    def __init__(self, start: int, differencing: bool) -> None:
        self.next = start
        self._table = TableWriter(TABLE_AT)
        self._differencing = differencing
        self._block = -1
        self._bitmap = bytearray()

    def place(self, run: Run) -> Iterator[Edit]:
        """The run's content in its blocks, new ones where it is the first in them."""
        start, end = run.start, run.start + run.length
        while start < end:
            block, within = divmod(start, BLOCK)
            length = min(end - start, BLOCK - within)
            if block != self._block:
                yield from self._begin(block)
            offset = self.next - BLOCK + within
            yield Copy(start, offset, length) if run.kind == Kind.DATA else Zero(offset, length)
            if self._differencing:
                self._mark(within // SECTOR, -(-length // SECTOR))
            start += length

    def end(self) -> Iterator[Edit]:
        """What is left to put."""
        yield from self._close()
        yield from self._table.flush()

    def _begin(self, block: int) -> Iterator[Edit]:
        yield from self._close()
        if self.next // SECTOR >= UNUSED:
            raise FormatError("a VHD file cannot grow past 2 TiB", kind=ErrorKind.LIMIT)
        yield from self._table.record(block, self.next // SECTOR)
        self._block = block
        self.next += BITMAP + BLOCK
        if self._differencing:
            self._bitmap = bytearray(BITMAP)
        else:
            yield Put(self.next - BLOCK - BITMAP, WHOLE)

    def _close(self) -> Iterator[Edit]:
        if self._differencing and self._block >= 0:
            yield Put(self.next - BLOCK - BITMAP, bytes(self._bitmap))
            self._block = -1

    def _mark(self, first: int, count: int) -> None:
        """Sectors are here from now on; all but a disk's last ones fill bytes."""
        whole, rest = divmod(count, 8)
        at = first // 8
        self._bitmap[at : at + whole] = b"\xff" * whole
        if rest:
            self._bitmap[at + whole] |= 0xFF00 >> rest & 0xFF


def dynamic_edits(choices: Choices, runs: Iterable[Run]) -> Iterator[Geometry | Edit]:
    """Table and blocks, then header and footers: without a header no footer makes the file an image."""
    blocks = -(-choices.size // BLOCK)
    table = -(-blocks * 4 // SECTOR) * SECTOR
    names_at = TABLE_AT + table
    head, names = header(choices, blocks, names_at)
    start = names_at + len(names)
    differencing = bool(choices.parent)
    yield Geometry(
        GRAIN if differencing else BLOCK,
        choices.size,
        zeros=differencing,
        overhead=start + FOOTER.size + blocks * BITMAP,
    )
    yield Truncate(0)
    for at in range(0, table, core_limits.PUT):
        yield Put(TABLE_AT + at, b"\xff" * min(core_limits.PUT, table - at))
    if names:
        yield Put(names_at, names)
    filling = Filling(start, differencing)
    for run in runs:
        yield from filling.place(run)
    yield from filling.end()
    yield Truncate(filling.next)
    yield Barrier()
    last = footer(choices)
    yield Put(HEADER_AT, head)
    yield Put(filling.next, last)
    yield Put(0, last)
