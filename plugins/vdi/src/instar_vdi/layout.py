"""The layout of a VDI file as data: little-endian, offsets and lengths in bytes.

Names are those of VirtualBox's VDICore (VDIPREHEADER, VDIHEADER1).
"""

from __future__ import annotations

from struct import Struct
from sys import byteorder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from array import array
    from typing import NamedTuple
else:
    from instar_core.record import NamedTuple

SECTOR = 512
BLOCK = 1 << 20
"""Bytes of a block in images that are written."""

SIGNATURE = 0xBEDA107F
SIGNATURE_AT = 0x40
VERSION = 0x00010001
"""1.1: the major version is in the upper half."""
HEADER_SIZE = 0x180
"""VDIHEADER1 without its later fields, as qemu-img writes it."""
TEXT = b"<<< QEMU VM Virtual Disk Image >>>\n"
"""What stands at the start of images that qemu-img writes; nothing depends on it."""

FREE = 0xFFFFFFFF
"""Block map entry of a block that was never written: it reads as zeros."""
DISCARDED = 0xFFFFFFFE
"""Block map entry of a block that is known to hold zeros."""

NULL_UUID = bytes(16)
ALLOCATED_AT = 0x184
"""Offset of blocks_allocated."""


class Type:
    """Values of Header.image_type."""

    DYNAMIC = 1
    STATIC = 2
    UNDO = 3
    DIFF = 4


TYPES = {Type.DYNAMIC: "dynamic", Type.STATIC: "static", Type.UNDO: "undo", Type.DIFF: "diff"}


class Header(NamedTuple):
    """The first sector of the file."""

    text: bytes
    signature: int
    version: int
    header_size: int
    image_type: int
    image_flags: int
    description: bytes
    offset_bmap: int
    offset_data: int
    cylinders: int
    heads: int
    sectors: int
    sector_size: int
    unused: int
    disk_size: int
    block_size: int
    block_extra: int
    blocks: int
    allocated: int
    uuid_image: bytes
    uuid_snapshot: bytes
    uuid_link: bytes
    uuid_parent: bytes

    @property
    def size(self) -> int:
        """Bytes of the virtual disk: disk_size rounded up to sectors, as qemu does."""
        return -(-self.disk_size // SECTOR) * SECTOR

    @property
    def stored(self) -> int:
        """Bytes that a block takes in the file: its extra data stands in front of its content."""
        return self.block_extra + self.block_size

    @property
    def map_end(self) -> int:
        """Bytes from the start of the file to the end of the block map."""
        return self.offset_bmap + 4 * self.blocks

    def place(self, index: int) -> int:
        """Where the content of the block that is stored as number `index` begins in the file."""
        return self.offset_data + index * self.stored + self.block_extra


HEADER = Struct("<64s5I256s7IQ4I16s16s16s16s56x")
FIELDS = HEADER.size - 56
"""Bytes of the sector that the fields take; later versions have more of them."""


def little(entries: array[int]) -> bytes:
    """Entries of the block map as a file has them."""
    if byteorder == "big":
        entries = entries[:]
        entries.byteswap()
    return entries.tobytes()
