"""The layout of a redolog, as data. Source: Bochs Developers Guide, "Harddisk Images based on redologs".

A file is header, catalog, and then extents one after the other, each a bitmap of its sectors before the sectors
themselves. All integers are little-endian.
"""

from __future__ import annotations

from struct import Struct

MAGIC = b"Bochs Virtual HD Image"
TYPE = b"Redolog"
SUBTYPE = b"Growing"
VERSIONS = (0x00010000, 0x00020000)

HEADER = Struct("<32s16s16sIIIII")
"""magic, type, subtype, version, header, catalog, bitmap, extent (84 bytes); the catalog's size counts entries"""

DISK_V1, DISK_V2 = 84, 88
"""Where the size of the disk in bytes stands (64 bits); version 2 has a timestamp before it."""

HEADER_SIZE = 512

UNALLOCATED = 0xFFFFFFFF
"""Entry of the catalog that has no extent; any other is the number of an extent of the file."""

ENTRY = 4
SECTOR = 512
