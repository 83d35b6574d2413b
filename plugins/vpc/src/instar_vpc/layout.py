"""The layout of VHD files as data: big-endian, offsets in bytes unless said otherwise.

Names are those of Microsoft's "Virtual Hard Disk Image Format Specification", version 1.0 (October 2006).
"""

from __future__ import annotations

from struct import Struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NamedTuple
else:
    from instar_core.record import NamedTuple

SECTOR = 512

COOKIE = b"conectix"
HEADER_COOKIE = b"cxsparse"

NOWHERE = (1 << 64) - 1
"""Data offset of a fixed disk's footer, and of every dynamic disk header."""

UNUSED = 0xFFFFFFFF
"""Entry of the block allocation table for a block that is not in the file."""

EPOCH = 946684800
"""Time stamps count seconds from 1 January 2000, UTC; this is that moment in seconds from 1970."""


class DiskType:
    """What Footer.disk_type may say. 0, 1, 5 and 6 are reserved."""

    FIXED = 2
    DYNAMIC = 3
    DIFFERENCING = 4


class Footer(NamedTuple):
    """The hard disk footer: last in every file, and in front of every file that is not fixed."""

    cookie: bytes
    features: int
    file_format_version: int
    data_offset: int
    time_stamp: int
    creator_application: bytes
    creator_version: int
    creator_host_os: bytes
    original_size: int
    current_size: int
    cylinders: int
    heads: int
    sectors: int
    """Sectors of a cylinder's track."""
    disk_type: int
    checksum: int
    unique_id: bytes
    saved_state: int


FOOTER = Struct(">8sIIQI4sI4sQQHBBII16sB427x")
FOOTER_CHECKSUM = 64
"""Where in the footer its checksum is."""
OLD_FOOTER = 511
"""Length of a footer that programs before Virtual PC 2004 wrote; the byte that it lacks is a zero."""


class Header(NamedTuple):
    """The dynamic disk header, up to the parent locators."""

    cookie: bytes
    data_offset: int
    table_offset: int
    header_version: int
    max_table_entries: int
    block_size: int
    checksum: int
    parent_unique_id: bytes
    parent_time_stamp: int
    parent_unicode_name: bytes


HEADER = Struct(">8sQQIIII16sI4x512s")
HEADER_SIZE = 1024
HEADER_CHECKSUM = 36
"""Where in the header its checksum is."""


class Locator(NamedTuple):
    """A parent locator entry: where one name of the parent lies, and for which platform it is."""

    platform_code: bytes
    platform_data_space: int
    platform_data_length: int
    platform_data_offset: int


LOCATOR = Struct(">4sII4xQ")
LOCATORS = 8
LOCATORS_AT = 576
"""Where in the header the parent locators begin."""


def checksum(data: bytes, place: int) -> int:
    """The ones' complement of the sum of all bytes but the four of the checksum itself, which are at `place`."""
    return ~(sum(data) - sum(data[place : place + 4])) & 0xFFFFFFFF


def sealed(data: bytes, place: int) -> bytes:
    """The same bytes with their checksum at `place`."""
    return data[:place] + checksum(data, place).to_bytes(4, "big") + data[place + 4 :]


def identity(unique_id: bytes) -> str:
    """A unique identifier as text; empty for one that is all zeros."""
    if not any(unique_id):
        return ""
    text = unique_id.hex()
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))


def bitmap_size(block: int) -> int:
    """Bytes of the sector bitmap before a block of so many bytes: a bit for each sector, in whole sectors."""
    return -(-block // (SECTOR * 8 * SECTOR)) * SECTOR
