"""Writing content into an image that is there.

What a block holds already is overwritten in its place. New blocks go behind all others, over the footer at the end: its
copy in front says meanwhile what the image is. Only when their content is on stable storage do table and sector bitmaps
say that it is there.
"""

from __future__ import annotations

from instar_core.errors import ErrorKind, FormatError
from instar_core.types import Barrier, Copy, Geometry, Kind, Punch, Put, Truncate
from instar_vpc import limits
from instar_vpc.blocks import blocks
from instar_vpc.info import TYPES
from instar_vpc.layout import FOOTER, SECTOR, UNUSED
from instar_vpc.mending import used_end
from instar_vpc.opening import open_disk
from instar_vpc.revised import front
from instar_vpc.tapdisk import mapless

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator

    from instar_core.source import Image, Source
    from instar_core.types import Edit, Run
    from instar_vpc.layout import Header
    from instar_vpc.opening import Disk


def update_edits(image: Image, runs: Iterable[Run]) -> Iterator[Geometry | Edit]:
    """The runs are in their places. Raises FormatError for a disk of an unknown type, or that overlaps its footer."""
    disk = open_disk(image)
    if disk.footer.disk_type not in TYPES:
        raise FormatError(f"disk type {disk.footer.disk_type} is not known", kind=ErrorKind.UNSUPPORTED)
    head = disk.header
    if head is None:
        yield from _fixed(disk, runs)
        return
    yield Geometry(SECTOR, disk.size, zeros=True)
    disk = yield from mapless(disk)
    writing = Writing(image.main, disk, head)
    for run in runs:
        yield from writing.place(run)
    yield from writing.end()


def _fixed(disk: Disk, runs: Iterable[Run]) -> Iterator[Geometry | Edit]:
    place = disk.footers.main.place
    if disk.size > place:
        raise FormatError(f"The disk has {disk.size} bytes, but its footer is at {place}", kind=ErrorKind.CORRUPT)
    yield Geometry(SECTOR, disk.size, zeros=True)
    for run in runs:
        if run.kind == Kind.DATA:
            yield Copy(run.start, run.start, run.length)
        else:
            yield Punch(run.start, run.length)
    yield Barrier()


class Block:
    """The block that content goes into. `bitmap` is there over a parent only; `fresh` says that the table does not know
    the block yet."""

    __slots__ = ("bitmap", "changed", "fresh", "number", "place")

    def __init__(self, number: int, place: int, bitmap: bytearray | None, *, fresh: bool) -> None:
        self.number = number
        self.place = place
        self.bitmap = bitmap
        self.fresh = fresh
        self.changed = False


class Writing:
    """Places runs, which ascend, and keeps what table and bitmaps have to say of them."""

    def __init__(self, source: Source, disk: Disk, header: Header) -> None:
        self._source = source
        self._disk = disk
        self._table = header.table_offset
        self._size = header.block_size
        self._stride = header.block_size + disk.bitmap
        self._next = used_end(source, disk, header)
        self._grown = False
        self._block: Block | None = None
        self._entries: list[tuple[int, int]] = []
        self._bitmaps: list[tuple[int, bytes]] = []
        self._waiting = 0

    def place(self, run: Run) -> Iterator[Edit]:
        """The run's content in its blocks, new ones where there is none; zeros need one only over a parent."""
        start, end, size = run.start, run.start + run.length, self._size
        allocate = run.kind == Kind.DATA or self._disk.differencing
        first = start // size
        if self._block is not None and self._block.number == first:
            # What was put need not be what is read: this block's state is kept.
            stop = min(end, (first + 1) * size)
            yield from self._content(self._block, run, start, stop)
            start = stop
        known = blocks(self._source, self._table, self._stride, start // size, -(-end // size))
        for number, count, offset in known if start < end else ():
            if offset is None and not allocate:
                continue
            for each in range(number, number + count):
                low, high = max(start, each * size), min(end, (each + 1) * size)
                place = None if offset is None else offset + (each - number) * self._stride
                block = yield from self._open(each, place)
                yield from self._content(block, run, low, high)

    def end(self) -> Iterator[Edit]:
        """Everything is said, and a footer is at the end."""
        yield from self._close()
        yield from self._flush()
        if self._grown:
            yield Put(self._next, self._disk.footers.main.data)
            yield Truncate(self._next + FOOTER.size)
            yield Barrier()

    def _open(self, number: int, place: int | None) -> Generator[Edit, None, Block]:
        """The block becomes the one that content goes into."""
        yield from self._close()
        bitmap = None
        fresh = place is None
        if place is None:
            place = yield from self._allocate()
            bitmap = bytearray(self._disk.bitmap) if self._disk.differencing else None
        elif self._disk.differencing:
            bitmap = bytearray(self._source.read(place, self._disk.bitmap))
        self._block = Block(number, place, bitmap, fresh=fresh)
        return self._block

    def _allocate(self) -> Generator[Edit, None, int]:
        """The place of a new block, which reads as zeros."""
        if not self._grown:
            yield from front(self._disk)
            yield Punch(self._next, max(0, self._source.size - self._next))
            self._grown = True
        place = self._next
        if place // SECTOR >= UNUSED:
            raise FormatError("a VHD file cannot grow past 2 TiB", kind=ErrorKind.LIMIT)
        self._next += self._stride
        return place

    def _content(self, block: Block, run: Run, low: int, high: int) -> Iterator[Edit]:
        within = low - block.number * self._size
        offset = block.place + self._disk.bitmap + within
        if run.kind == Kind.DATA:
            yield Copy(low, offset, high - low)
        elif not block.fresh:
            yield Punch(offset, high - low)
        if block.bitmap is not None:
            block.changed |= _mark(block.bitmap, within // SECTOR, -(-(high - low) // SECTOR))

    def _close(self) -> Iterator[Edit]:
        """What there is to say of the block waits for its content to be safe."""
        block, self._block = self._block, None
        if block is None:
            return
        if block.fresh:
            whole = b"\xff" * self._disk.bitmap
            yield Put(block.place, whole if block.bitmap is None else bytes(block.bitmap))
            self._entries.append((block.number, block.place // SECTOR))
            self._waiting += 4
        elif block.bitmap is not None and block.changed:
            self._bitmaps.append((block.place, bytes(block.bitmap)))
            self._waiting += len(block.bitmap)
        if self._waiting >= limits.WAITING:
            yield from self._flush()

    def _flush(self) -> Iterator[Edit]:
        """Content first, then what says that it is there."""
        if self._entries:
            yield Truncate(self._next)
        yield Barrier()
        for place, bitmap in self._bitmaps:
            yield Put(place, bitmap)
        yield from entry_puts(self._table, self._entries)
        if self._bitmaps or self._entries:
            yield Barrier()
        self._bitmaps, self._entries, self._waiting = [], [], 0


def _mark(bitmap: bytearray, first: int, count: int) -> bool:
    """Sectors are here from now on, the first of them the highest bit of a byte; whether that is new."""
    at, end = first // 8, -(-(first + count) // 8)
    before = int.from_bytes(bitmap[at:end], "big")
    after = before | ((1 << count) - 1) << (end * 8 - first - count)
    bitmap[at:end] = after.to_bytes(end - at, "big")
    return before != after


def entry_puts(table: int, entries: list[tuple[int, int]]) -> Iterator[Put]:
    """The entries, which ascend, put in stretches of neighbours."""
    at = 0
    while at < len(entries):
        end = at + 1
        while end < len(entries) and entries[end][0] == entries[end - 1][0] + 1:
            end += 1
        data = b"".join(entry.to_bytes(4, "big") for _, entry in entries[at:end])
        yield Put(table + entries[at][0] * 4, data)
        at = end
