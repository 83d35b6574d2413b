"""What a VHD image consists of: a footer, and for all but fixed disks a header and a block allocation table."""

from __future__ import annotations

from instar_core.errors import ErrorKind, FormatError
from instar_vpc import limits
from instar_vpc.blocks import last_entry
from instar_vpc.footers import Footers, find
from instar_vpc.geometry import disk_size
from instar_vpc.layout import (
    HEADER,
    HEADER_COOKIE,
    HEADER_SIZE,
    SECTOR,
    DiskType,
    Footer,
    Header,
    bitmap_size,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NamedTuple

    from instar_core.source import Image, Source
else:
    from instar_core.record import NamedTuple

HIGHEST = (1 << 63) - 1
"""Last byte that a file can have."""


class Disk(NamedTuple):
    """A VHD image; `header` is None for a fixed one. All lengths are bytes."""

    footers: Footers
    size: int
    """Bytes of the virtual disk."""
    header: Header | None = None
    bitmap: int = 0
    """Length of the sector bitmap before each block."""
    blocks: int = 0
    """How many blocks the disk has."""

    @property
    def footer(self) -> Footer:
        """The footer that counts."""
        return self.footers.main.footer

    @property
    def differencing(self) -> bool:
        """Whether what is not here is in a parent."""
        return self.footer.disk_type == DiskType.DIFFERENCING


def open_disk(image: Image, *, lenient: bool = False) -> Disk:
    """The image. With `lenient`, or the option `check`, faults that a check reports are none: wrong checksums, and
    blocks past the end of the file.

    Raises FormatError, in qemu's words, for what cannot be opened.
    """
    source = image.main
    lenient = lenient or bool(image.options.get("check"))
    footers = find(source, lenient=lenient)
    footer = footers.main.footer
    size = disk_size(footer, image.options.get("force_size_calc"))
    if size > limits.SECTORS * SECTOR:
        raise FormatError("File too large", kind=ErrorKind.LIMIT, offset=48)
    if footer.disk_type == DiskType.FIXED:
        return Disk(footers, size)
    header = _header(source, footer, size)
    disk = Disk(footers, size, header, bitmap_size(header.block_size), -(-size // header.block_size))
    if disk.blocks > limits.BLOCKS:
        raise FormatError(f"a disk of {disk.blocks} blocks has too many", kind=ErrorKind.LIMIT)
    if header.table_offset + disk.blocks * 4 > source.size:
        raise FormatError("Error reading pagetable", kind=ErrorKind.TRUNCATED, offset=header.table_offset)
    if not lenient:
        entry = last_entry(source, header.table_offset, disk.blocks)
        end = 0 if entry is None else entry * SECTOR + disk.bitmap + header.block_size
        if end > -(-source.size // SECTOR) * SECTOR:
            raise FormatError(
                "block-vpc: free_data_block_offset points after the end of file. The image has been truncated.",
                kind=ErrorKind.TRUNCATED,
                offset=end,
            )
    return disk


def _header(source: Source, footer: Footer, size: int) -> Header:
    place = footer.data_offset
    if place + HEADER_SIZE > HIGHEST:
        raise FormatError("Error reading dynamic VHD header", kind=ErrorKind.TRUNCATED, offset=16)
    header = Header._make(source.unpack(HEADER, place, pad=True))
    block = header.block_size
    if header.cookie != HEADER_COOKIE:
        raise FormatError("Invalid header magic", offset=place)
    if block < limits.BLOCK or block & (block - 1):
        raise FormatError(f"Invalid block size {block}", offset=place + 32)
    if header.max_table_entries * block < size:
        raise FormatError("Page table too small", kind=ErrorKind.CORRUPT, offset=place + 28)
    if header.max_table_entries > limits.TABLE:
        signed = header.max_table_entries - (header.max_table_entries >> 31 << 32)
        raise FormatError(f"Max Table Entries too large ({signed})", kind=ErrorKind.LIMIT, offset=place + 28)
    return header
