"""The disk grows or shrinks in place, and an image is emptied. Its size is eight bytes of the metadata, which change by
one write; what the block allocation table says of blocks outside the disk counts for nothing.
"""

from __future__ import annotations

from instar_core import limits as core_limits
from instar_core.errors import ErrorKind, FormatError
from instar_core.types import Barrier, Punch, Put, Reserve, Truncate
from instar_vhdx import limits
from instar_vhdx.bat import entries
from instar_vhdx.batputs import WIDTH, absent, index
from instar_vhdx.begin import begun
from instar_vhdx.crc import summed
from instar_vhdx.layout import (
    BAT_REGION,
    METADATA_REGION,
    MIB,
    OFFSET,
    REGION_ENTRY,
    REGION_HEAD,
    REGION_TABLE_SIZE,
    REGION_TABLES,
    SECTOR,
    STATE,
    VIRTUAL_DISK_SIZE_ITEM,
    Payload,
    Region,
)
from instar_vhdx.metadata import items
from instar_vhdx.opening import open_disk, table_entries
from instar_vhdx.regions import named, valid_table
from instar_vhdx.room import PLACED, given_up, used_end

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from instar_core.source import Image
    from instar_core.types import Edit, Empty, Resize
    from instar_vhdx.opening import Disk

MODES = ("off", "metadata", "falloc", "full")


def resize_edits(image: Image, request: Resize) -> Iterator[Edit]:
    """The disk has the size, rounded up to its sectors. A fixed image, and any with a preallocation, gets all its new
    blocks.

    Raises FormatError (UNSUPPORTED) where a differencing image would grow over a parent that is larger, or that nobody
    looked at, (LIMIT) past 64 TiB.
    """
    disk = open_disk(image)
    before, sector = disk.metadata.size, disk.metadata.logical
    size = -(-request.size // sector) * sector
    if disk.metadata.parent and size > before and (request.below is None or request.below > before):
        raise FormatError(
            "the parent may hold content where the differencing image would grow", kind=ErrorKind.UNSUPPORTED
        )
    if size > limits.VIRTUAL_SIZE:
        raise FormatError("Image size too large; max of 64TB", kind=ErrorKind.LIMIT)
    if request.preallocation not in MODES:
        raise FormatError(f"invalid parameter value: {request.preallocation}")
    yield from begun(image, disk, request.entropy, content=not request.keep)
    if size > before:
        yield from _grown(disk, size, request.preallocation)
    elif size < before:
        yield from _sized(disk, size)
        yield from _freed(disk, -(-size // disk.metadata.block))


def empty_edits(image: Image, request: Empty) -> Iterator[Edit]:
    """No block is in the file any more. Raises FormatError (UNSUPPORTED) for a fixed image."""
    disk = open_disk(image)
    if disk.metadata.fixed:
        raise FormatError("A fixed image cannot be emptied", kind=ErrorKind.UNSUPPORTED)
    yield from begun(image, disk, request.entropy, content=False)
    yield from _freed(disk, 0)


def _grown(disk: Disk, size: int, how: str) -> Iterator[Edit]:
    source, block, ratio = disk.source, disk.metadata.block, disk.ratio
    blocks = -(-size // block)
    yield from _cleared(disk)
    parent = disk.metadata.parent
    known, last = table_entries(disk.blocks, ratio, parent) * WIDTH, table_entries(blocks, ratio, parent)
    end = max(-(-source.size // MIB) * MIB, used_end(disk, disk.blocks))
    table = disk.bat
    if last * WIDTH > disk.bat.length:
        length = -(-last * WIDTH // MIB) * MIB
        table = Region(BAT_REGION, end, length, True)
        end += length
        yield Truncate(end)
        for at in range(0, known, core_limits.PUT):
            step = min(core_limits.PUT, known - at)
            yield Put(table.offset + at, source.read(disk.bat.offset + at, step))
    else:
        yield from absent(disk, table.offset, disk.blocks, blocks)
    new = blocks - disk.blocks
    if (disk.metadata.fixed or how != "off") and new:
        yield Truncate(end + new * block)
        if how in ("falloc", "full"):
            yield Reserve(end, new * block, how)
        yield from _placed(disk, table.offset, blocks, end)
    yield Barrier()
    if table is not disk.bat:
        yield from _region_tables(disk, table)
    yield from _sized(disk, size)
    if table is not disk.bat:
        yield Punch(disk.bat.offset, disk.bat.length)
        yield Barrier()


def _cleared(disk: Disk) -> Iterator[Edit]:
    """What the disk's last block has behind the disk's end reads as zeros: where it is there, or nothing is below."""
    block = disk.metadata.block
    used = disk.metadata.size % block
    if used:
        for _, _, entry, _ in entries(disk, disk.blocks - 1, disk.blocks):
            if entry & STATE in PLACED and entry & OFFSET >= MIB:
                yield Punch((entry & OFFSET) + used, block - used)


def _placed(disk: Disk, table: int, blocks: int, start: int) -> Iterator[Edit]:
    """The table has all blocks from the disk's end on, one behind the other from `start` on."""
    block, ratio = disk.metadata.block, disk.ratio
    at = disk.blocks
    while at < blocks:
        count = min(blocks - at, ratio - at % ratio, core_limits.PUT // WIDTH)
        place = start + (at - disk.blocks) * block
        data = b"".join(
            (each | Payload.FULLY_PRESENT).to_bytes(WIDTH, "little")
            for each in range(place, place + count * block, block)
        )
        yield Put(table + index(disk, at) * WIDTH, data)
        at += count


def _region_tables(disk: Disk, table: Region) -> Iterator[Edit]:
    """Both region tables say where the block allocation table is; it changes nothing that the old one is right too."""
    good = next(data for data in (valid_table(disk.source, place) for place in REGION_TABLES) if data is not None)
    made = bytearray(good)
    for number, region in enumerate(disk.regions):
        if region.guid == BAT_REGION:
            place = REGION_HEAD.size + number * REGION_ENTRY.size
            made[place : place + REGION_ENTRY.size] = REGION_ENTRY.pack(BAT_REGION, table.offset, table.length, 1)
    made[4:8] = summed(bytes(made)).to_bytes(4, "little")
    alike = bytes(made[SECTOR:]) == good[SECTOR:]
    for place in REGION_TABLES:
        yield Put(place, bytes(made[: SECTOR if alike else REGION_TABLE_SIZE]))
        yield Barrier()


def _sized(disk: Disk, size: int) -> Iterator[Edit]:
    """The metadata say the size. Raises FormatError (UNSUPPORTED) where that cannot be one write."""
    place, _ = items(disk.source, named(disk.regions, METADATA_REGION, "metadata region"))[VIRTUAL_DISK_SIZE_ITEM]
    if place // SECTOR != (place + 7) // SECTOR:
        raise FormatError("the size of the disk lies over the border of a sector", kind=ErrorKind.UNSUPPORTED)
    yield Put(place, size.to_bytes(8, "little"))
    yield Barrier()


def _freed(disk: Disk, blocks: int) -> Iterator[Edit]:
    """Blocks from this one on are not there any more, and neither is what they held."""
    yield from absent(disk, disk.bat.offset, blocks, disk.blocks)
    yield Barrier()
    end = used_end(disk, blocks)
    yield from given_up(disk, blocks, disk.blocks, end)
    yield Truncate(min(end, disk.source.size))
    yield Barrier()
