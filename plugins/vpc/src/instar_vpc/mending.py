"""What is wrong at the ends of a VHD image, in front and behind, and how it is mended: as check reports it, so repair
does it."""

from __future__ import annotations

from instar_vpc import limits
from instar_vpc.blocks import last_entry
from instar_vpc.geometry import MAXIMUM_SECTORS, geometry_sectors
from instar_vpc.layout import (
    FOOTER,
    HEADER_CHECKSUM,
    HEADER_SIZE,
    OLD_FOOTER,
    SECTOR,
    DiskType,
    checksum,
)
from instar_vpc.locators import locators

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NamedTuple

    from instar_core.source import Source
    from instar_vpc.layout import Header
    from instar_vpc.opening import Disk
else:
    from instar_core.record import NamedTuple


class Mending(NamedTuple):
    """The state of both ends of the file."""

    end: int
    """Where the last thing that is in use ends, in whole sectors; the footer comes after it."""
    head: bool
    """Whether the copy in front is to be written anew."""
    tail: int | None
    """Where the footer is to be written anew; None where it need not or cannot be."""
    leaked: int
    """Blocks at the end of the file that are not in use."""
    trusted: bool
    """Whether header and footers are sound, so that what they do not mention may go."""


def mending(source: Source, disk: Disk, header: Header) -> Mending:
    """What there is to mend in an image that has a header."""
    main, head, tail = disk.footers
    end = used_end(source, disk, header)
    fixed = tail is not None and tail.sound and tail.footer.disk_type == DiskType.FIXED
    known = main.sound and not fixed and end <= -(-source.size // SECTOR) * SECTOR
    place: int | None = None
    if known and (tail is None or not tail.sound or tail.data != main.data):
        last = tail is not None and tail.place >= end and tail.place + OLD_FOOTER >= source.size
        place = tail.place if tail is not None and last else max(end, -(-source.size // SECTOR) * SECTOR)
    seal = checksum(source.read(disk.footer.data_offset, HEADER_SIZE), HEADER_CHECKSUM)
    stop = tail.place if tail is not None and tail.sound else source.size
    return Mending(
        end=end,
        head=known and (head is None or not head.sound),
        tail=place,
        leaked=max(0, stop - end) // (disk.bitmap + header.block_size),
        trusted=known and seal == header.checksum,
    )


def fixed_slack(disk: Disk) -> int:
    """Bytes between a fixed disk and its footer, in whole sectors; 0 where another reading of its size has them."""
    main = disk.footers.main
    sectors = geometry_sectors(main.footer)
    used = max(disk.size, main.footer.current_size, sectors * SECTOR if sectors != MAXIMUM_SECTORS else 0)
    if not main.sound or main.footer.disk_type != DiskType.FIXED or disk.size % SECTOR:
        return 0
    return max(0, main.place - used) // SECTOR * SECTOR if used == disk.size else 0


def used_end(source: Source, disk: Disk, header: Header) -> int:
    """Where header, table, locators and blocks end, those past the end of the disk included, in whole sectors."""
    place, table = disk.footer.data_offset, header.table_offset
    entries = min(header.max_table_entries, limits.BLOCKS, (source.size - table) // 4)
    ends = [FOOTER.size, place + HEADER_SIZE, table + header.max_table_entries * 4]
    ends += [one.platform_data_offset + one.platform_data_length for one in locators(source, place)]
    last = last_entry(source, table, entries)
    if last is not None:
        ends.append(last * SECTOR + disk.bitmap + header.block_size)
    return -(-max(ends) // SECTOR) * SECTOR
