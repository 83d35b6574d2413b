"""Checking the structure of a VHD image. qemu-img knows no check of this format, so words and counts are our own."""

from __future__ import annotations

from instar_core.ranges import Ranges
from instar_core.types import Finding, Severity, Tally
from instar_vpc import limits
from instar_vpc.blocks import blocks
from instar_vpc.footers import CONTRADICTION
from instar_vpc.geometry import BY_GEOMETRY, MAXIMUM_SECTORS, geometry_sectors
from instar_vpc.info import TYPES
from instar_vpc.layout import (
    FOOTER,
    HEADER_CHECKSUM,
    HEADER_SIZE,
    NOWHERE,
    SECTOR,
    DiskType,
    checksum,
)
from instar_vpc.locators import locators
from instar_vpc.mending import fixed_slack, mending
from instar_vpc.opening import open_disk

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from instar_core.source import Image, Source
    from instar_vpc.layout import Header
    from instar_vpc.mending import Mending
    from instar_vpc.opening import Disk


def findings(image: Image) -> Iterator[Finding | Tally]:
    """Every finding, then a Tally: blocks of the disk, those in the file, those that do not follow the one before."""
    disk = open_disk(image, lenient=True)
    source = image.main
    footer = disk.footer
    made = mending(source, disk, disk.header) if disk.header else None
    yield from _footers(disk, made)
    if footer.disk_type not in TYPES:
        yield _bad(f"The disk type {footer.disk_type} does not exist", disk.footers.main.place + 60)
    if footer.saved_state:
        yield _note("The image is part of a saved state", disk.footers.main.place + 84)
    chs = geometry_sectors(footer)
    if footer.creator_application in BY_GEOMETRY and chs not in (MAXIMUM_SECTORS, footer.current_size // SECTOR):
        yield _note(f"The geometry has {chs * SECTOR} bytes, the size of the disk is {footer.current_size}")
    if disk.header is None or made is None:
        if disk.size > max(0, disk.footers.main.place):
            yield _bad(f"The disk has {disk.size} bytes, but its footer is at {disk.footers.main.place}")
        slack = fixed_slack(disk)
        if slack:
            yield Finding(
                Severity.LEAK, f"{slack} bytes before the footer are not in use", disk.size, slack // SECTOR, True
            )
        yield Tally(end=disk.footers.main.place + FOOTER.size)
        return
    yield from _header(source, disk, disk.header)
    yield from _table(source, disk, disk.header, made)


def _footers(disk: Disk, made: Mending | None) -> Iterator[Finding]:
    main, head, tail = disk.footers
    if not main.sound:
        yield _bad("The checksum of the footer is wrong, and there is no sound copy", main.place + 64)
        return
    if made is None:
        return
    if tail is not None and tail.sound and tail.footer.disk_type == DiskType.FIXED:
        yield _bad(CONTRADICTION[:1].upper() + CONTRADICTION[1:], tail.place)
        return
    if head is None or not head.sound:
        yield _bad("The copy of the footer in front is damaged or missing", 0, repairable=made.head)
    again = made.tail is not None
    if tail is None:
        yield _left("The footer at the end is missing", repairable=again)
    elif not tail.sound:
        yield _left("The footer at the end is damaged", tail.place, repairable=again)
    elif head is not None and head.sound and head.data != tail.data:
        yield _left("The footer at the end differs from its copy in front", tail.place, repairable=again)


def _header(source: Source, disk: Disk, header: Header) -> Iterator[Finding]:
    place = disk.footer.data_offset
    if checksum(source.read(place, HEADER_SIZE), HEADER_CHECKSUM) != header.checksum:
        yield _bad("The checksum of the dynamic disk header is wrong", place + HEADER_CHECKSUM)
    if header.data_offset != NOWHERE or header.header_version != 0x10000:
        yield _note("The dynamic disk header is of an unknown version", place)


def _table(source: Source, disk: Disk, header: Header, made: Mending) -> Iterator[Finding | Tally]:
    stride = disk.bitmap + header.block_size
    used = Ranges(limits.CHECK_RUNS)
    used.add(0, FOOTER.size)
    used.add(disk.footer.data_offset, HEADER_SIZE)
    used.add(header.table_offset, header.max_table_entries * 4)
    for locator in locators(source, disk.footer.data_offset):
        place, length = locator.platform_data_offset, locator.platform_data_length
        if place + length > source.size:
            yield _bad("A parent locator lies outside the file", place)
        else:
            used.add(place, length)
    tail = disk.footers.tail
    allocated = fragmented = 0
    after: int | None = None
    for number, count, offset in blocks(source, header.table_offset, stride, 0, disk.blocks):
        if offset is None:
            continue
        inside = min(count, max(0, (-(-source.size // SECTOR) * SECTOR - offset) // stride))
        if inside < count:
            yield Finding(
                Severity.CORRUPTION,
                f"Block {number + inside} lies past the end of the file"
                + (f", as do the {count - inside - 1} after it" if count - inside > 1 else ""),
                offset + inside * stride,
                count - inside,
            )
        if inside:
            used.add(offset, inside * stride)
        fragmented += after is not None and offset != after
        allocated += count
        after = offset + count * stride
    beyond = header.max_table_entries - disk.blocks
    extra = min(beyond, limits.BLOCKS, max(0, (source.size - header.table_offset) // 4 - disk.blocks))
    for _number, count, offset in blocks(source, header.table_offset, stride, disk.blocks, disk.blocks + extra):
        if offset is not None:
            yield _note("Blocks past the end of the disk are in the file", offset, count)
    if tail is not None and tail.place < made.end <= -(-source.size // SECTOR) * SECTOR:
        yield _bad("The footer lies in the middle of other data", tail.place)
    for place in used.overlaps():
        yield _bad(f"What begins at {place} overlaps something before it", place)
    if used.full:
        yield _note("The image is too fragmented to look for overlaps")
    if made.leaked:
        yield Finding(
            Severity.LEAK,
            f"{made.leaked} blocks at the end of the file are not in use",
            made.end,
            made.leaked,
            repairable=made.trusted,
        )
    yield Tally(disk.blocks, allocated, fragmented, 0, made.end + FOOTER.size)


def _bad(text: str, offset: int = -1, *, repairable: bool = False) -> Finding:
    return Finding(Severity.CORRUPTION, text, offset, repairable=repairable)


def _left(text: str, offset: int = -1, *, repairable: bool) -> Finding:
    """What a change that was cut short leaves behind: the footer in front counts, so nothing is lost by it."""
    return Finding(Severity.LEAK, text, offset, repairable=repairable)


def _note(text: str, offset: int = -1, count: int = 1) -> Finding:
    return Finding(Severity.NOTE, text, offset, count)
