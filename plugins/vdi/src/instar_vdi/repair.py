"""Mending a VDI image: a block map that a stop left behind the blocks, and the count of allocated blocks."""

from __future__ import annotations

from instar_core import limits as core_limits
from instar_core.errors import FormatError
from instar_core.types import Barrier, Put, Truncate
from instar_vdi import limits
from instar_vdi.blocks import ABSENT, stretches
from instar_vdi.check import allocated_blocks
from instar_vdi.heading import Heading
from instar_vdi.layout import SECTOR
from instar_vdi.mapcommit import puts
from instar_vdi.opening import cut, open_image
from instar_vdi.usage import Usage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from instar_core.source import Image, Source
    from instar_core.types import Edit, Repair
    from instar_vdi.layout import Header


def mending(image: Image, request: Repair) -> Iterator[Edit]:
    """The block map lies in front of the blocks, where there is room.

    If all is to be mended, blocks_allocated says what the block map says, and no block lies behind that many: there the
    next writer puts new ones.
    """
    source = image.main
    header = open_image(source)
    if cut(source, header):
        yield Barrier()
        return
    heading = Heading(source)
    try:
        usage: Usage | None = Usage(source, header)
    except FormatError:
        usage = None  # nobody knows whose the blocks are: they stay where they are
    length = -(-4 * header.blocks // SECTOR) * SECTOR
    if length and header.offset_bmap >= header.offset_data >= SECTOR + length:
        yield from puts(SECTOR, stretches(source, header, 0, header.blocks))
        yield Barrier()
        yield heading.put(offset_bmap=SECTOR)
        yield Barrier()
        if usage is not None:
            yield Truncate(min(source.size, header.place(usage.end) - header.block_extra))
    if request.mode == "all":
        if usage is not None and usage.holes:
            yield from _closed(source, header, heading, usage)
        else:
            count = usage.count if usage is not None else allocated_blocks(source, header)
            if count != header.allocated:
                yield heading.put(allocated=count)
    yield Barrier()


def _closed(source: Source, header: Header, heading: Heading, usage: Usage) -> Iterator[Edit]:
    """The last blocks are in the places that none has; first the count covers all of them."""
    if header.allocated < usage.end:
        yield heading.put(allocated=usage.end)
        yield Barrier()
    left = limits.COPIES
    free = (hole for first, count in usage.holes for hole in range(first, min(first + count, usage.count)))
    moved: list[tuple[int, int]] = []
    for block, count, index, step in stretches(source, header, 0, header.blocks):
        if index == ABSENT or index + step * (count - 1) < usage.count:
            continue
        for number in range(count):
            place = index + step * number
            if place >= usage.count and left:
                left -= 1
                to = next(free)
                yield from _copied(source, header, place, to)
                moved.append((block + number, to))
    yield Barrier()
    yield from puts(heading.now.offset_bmap, ((block, 1, to, 1) for block, to in moved))
    yield Barrier()
    if left:
        yield heading.put(allocated=usage.count)


def _copied(source: Source, header: Header, index: int, to: int) -> Iterator[Edit]:
    old, new = header.place(index) - header.block_extra, header.place(to) - header.block_extra
    for at in range(0, header.stored, core_limits.PUT):
        some = min(core_limits.PUT, header.stored - at)
        yield Put(new + at, source.read(old + at, some, pad=True))
