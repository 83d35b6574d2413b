"""The disk grows or shrinks in place: one write of a sector changes the footer that counts, everything else happens
before or after it, where nothing refers to it. Sizes are bytes unless they are called sectors.
"""

from __future__ import annotations

from instar_core import limits as core_limits
from instar_core.errors import ErrorKind, FormatError
from instar_core.types import Barrier, Punch, Put, Reserve, Truncate
from instar_vpc import limits
from instar_vpc.blocks import blocks
from instar_vpc.info import TYPES
from instar_vpc.layout import FOOTER, SECTOR
from instar_vpc.mending import used_end
from instar_vpc.opening import open_disk
from instar_vpc.revised import committed, front, header, resized
from instar_vpc.tapdisk import mapless

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from instar_core.source import Image, Source
    from instar_core.types import Edit, Resize
    from instar_vpc.layout import Header
    from instar_vpc.opening import Disk


def resize_edits(image: Image, request: Resize) -> Iterator[Edit]:
    """The disk has the size, rounded up to sectors.

    Raises FormatError (UNSUPPORTED) where a differencing disk would grow over a parent that is larger, or that nobody
    looked at, and for a preallocation that there is none of; (LIMIT) past 2040 GiB.
    """
    disk = open_disk(image)
    if disk.footer.disk_type not in TYPES:
        raise FormatError(f"disk type {disk.footer.disk_type} is not known", kind=ErrorKind.UNSUPPORTED)
    if disk.differencing and request.size > disk.size and (request.below is None or request.below > disk.size):
        raise FormatError(
            "the parent may hold content where the differencing disk would grow", kind=ErrorKind.UNSUPPORTED
        )
    how = request.preallocation
    if how not in (("off",) if disk.header else ("off", "falloc", "full")):
        raise FormatError(f"Unsupported preallocation mode: {how}", kind=ErrorKind.UNSUPPORTED)
    sectors = -(-request.size // SECTOR)
    if sectors > limits.SECTORS:
        raise FormatError("The image size is too large for file format 'vpc'", kind=ErrorKind.LIMIT)
    head = disk.header
    if head is None:
        yield from _fixed(image.main, disk, sectors, how)
    else:
        disk = yield from mapless(disk)
        yield from _dynamic(image.main, disk, head, sectors)


def _fixed(source: Source, disk: Disk, sectors: int, how: str) -> Iterator[Edit]:
    """There is no copy in front: the footer is put at the new end first, still with the old size."""
    main = disk.footers.main
    old, size, end = disk.size, sectors * SECTOR, -(-source.size // SECTOR) * SECTOR
    if old > main.place:
        raise FormatError(f"The disk has {old} bytes, but its footer is at {main.place}", kind=ErrorKind.CORRUPT)
    aligned = not main.place % SECTOR and main.place + FOOTER.size == source.size
    tail = main.place if aligned else end
    if size > tail or not aligned:
        tail = max(size, tail)
        yield Put(tail, main.data)
        yield Barrier()
    if size > old:
        yield Punch(old, size - old)
        if how != "off":
            yield Reserve(old, size - old, how)
        yield Barrier()
    data = resized(main, sectors)
    yield Put(tail, data)
    yield Barrier()
    if tail > size:
        yield Put(size, data)
        yield Barrier()
        yield Truncate(size + FOOTER.size)
        yield Barrier()


def _dynamic(source: Source, disk: Disk, head: Header, sectors: int) -> Iterator[Edit]:
    size, block = sectors * SECTOR, head.block_size
    count = -(-size // block)
    if count > limits.BLOCKS:
        raise FormatError(f"a disk of {count} blocks has too many", kind=ErrorKind.LIMIT)
    data = resized(disk.footers.main, sectors)
    yield from front(disk)
    if size < disk.size:
        yield from _shrunk(source, disk, head, data, count)
        return
    if size > disk.size and disk.size % block:
        for _, _, offset in blocks(source, head.table_offset, block, disk.blocks - 1, disk.blocks):
            if offset is not None:
                used = disk.size % block
                yield Punch(offset + disk.bitmap + used, block - used)
    end = used_end(source, disk, head)
    if count <= head.max_table_entries:
        yield from unused(source, head.table_offset, disk.blocks, count)
        yield Barrier()
        tail = disk.footers.tail
        place = tail.place if tail is not None and not tail.place % SECTOR and tail.place >= end else end
        yield from committed(data, place)
        return
    after = yield from _moved(source, disk, head, count, end)
    yield from committed(data, after)


def _moved(source: Source, disk: Disk, head: Header, count: int, end: int) -> Generator[Edit, None, int]:
    """The table has room for `count` entries, behind all else; where it ends then. A footer is behind it."""
    place = disk.footer.data_offset
    if place % SECTOR:
        raise FormatError("the dynamic disk header does not begin with a sector", kind=ErrorKind.UNSUPPORTED)
    length = -(-count * 4 // SECTOR) * SECTOR
    step = core_limits.PUT
    for at in range(0, length, step):
        known = max(0, min(step, disk.blocks * 4 - at))
        entries = source.read(head.table_offset + at, known) if known else b""
        yield Put(end + at, entries.ljust(min(step, length - at), b"\xff"))
    yield Put(end + length, disk.footers.main.data)
    yield Truncate(end + length + FOOTER.size)
    yield Barrier()
    made = header(source, place, table_offset=end, max_table_entries=count)
    yield Put(place, made[:SECTOR])
    yield Barrier()
    return end + length


def _shrunk(source: Source, disk: Disk, head: Header, data: bytes, count: int) -> Iterator[Edit]:
    """The disk ends earlier; then its blocks go, those at the end of the file with the space that they took."""
    tail = disk.footers.tail
    end = used_end(source, disk, head)
    place = tail.place if tail is not None and not tail.place % SECTOR and tail.place >= end else end
    yield from committed(data, place)
    yield from unused(source, head.table_offset, count, disk.blocks)
    yield Barrier()
    at, stride = disk.footer.data_offset, disk.bitmap + head.block_size
    if not at % SECTOR:
        yield Put(at, header(source, at, max_table_entries=max(1, count))[:SECTOR])
        yield Barrier()
    after = used_end(source, disk, head._replace(max_table_entries=count))
    for _, many, offset in blocks(source, head.table_offset, stride, count, disk.blocks):
        if offset is not None and offset < after:
            yield Punch(offset, min(many * stride, after - offset))
    yield Put(after, data)
    yield Barrier()
    yield Truncate(after + FOOTER.size)
    yield Barrier()


def unused(source: Source, table: int, first: int, end: int) -> Iterator[Edit]:
    """The table's entries from `first` to `end` (exclusive) stand for no block."""
    step = core_limits.PUT // 4
    for at in range(first, end, step):
        length = min(step, end - at) * 4
        if source.read(table + at * 4, length, pad=True).strip(b"\xff"):
            yield Put(table + at * 4, b"\xff" * length)
