"""The layout of a Parallels file as data: little-endian, in sectors of 512 bytes unless said otherwise.

Names are those of "Parallels Expandable Image File Format" (QEMU, docs/interop/parallels).
"""

from __future__ import annotations

from struct import Struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NamedTuple
else:
    from instar_core.record import NamedTuple

SECTOR = 512

OLD_MAGIC = b"WithoutFreeSpace"
"""BAT entries count sectors; nb_sectors has 32 bits; data_off may be 0."""
EXT_MAGIC = b"WithouFreSpacExt"
"""BAT entries count clusters."""
VERSION = 2

IN_USE = 0x746F6E59
"""in_use of an image that a program has open for writing, or had when it died."""
CLOSED = 0x312E3276
"""in_use of an image that was closed by a program that knows the Format Extension."""

EMPTY = 1
"""Bit of flags: the image holds nothing."""

IN_USE_AT = 44
DATA_OFF_AT = 48


class Header(NamedTuple):
    """The first 64 bytes of the file; the BAT follows at once."""

    magic: bytes
    version: int
    heads: int
    cylinders: int
    tracks: int
    bat_entries: int
    nb_sectors: int
    in_use: int
    data_off: int
    flags: int
    ext_off: int


HEADER = Struct("<16sIIIIIQIIIQ")

EXTENSION = Struct("<Q16s")
"""Of a Format Extension cluster: magic, MD5 of all that follows."""
EXTENSION_MAGIC = 0xAB234CEF23DCEA87
FEATURE = Struct("<QQII")
"""magic, flags, bytes of data, unused. Features are padded to 8 bytes."""
END_OF_FEATURES = 0
DIRTY_BITMAP = 0x20385FAE252CB34A
BITMAP = Struct("<Q16sII")
"""size in sectors, id, granularity in sectors, entries of the L1 table that follows."""
ALL_CLEAR, ALL_SET = 0, 1
"""L1 entries that are no place."""
