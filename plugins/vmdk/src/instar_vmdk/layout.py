"""The layout of VMDK files as data: little-endian, offsets and lengths in sectors of 512 bytes unless said otherwise.

Names are those of VMware's "Virtual Disk Format 5.0" and, for COWD and seSparse, of the descriptions of libvmdk.
"""

from __future__ import annotations

from struct import Struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NamedTuple
else:
    from instar_core.record import NamedTuple

SECTOR = 512

HOSTED_MAGIC = b"KDMV"
COWD_MAGIC = b"COWD"
TEXT_MAGIC = b"# Disk DescriptorFile"

NO_PARENT = 0xFFFFFFFF
"""parentCID of an image without a parent."""

GD_AT_END = (1 << 64) - 1
"""gdOffset of a stream-optimised file: the footer, a second header near the end of the file, has the true one."""

ZEROED = 1
"""Grain table entry of a grain that is all zeros, where the header's flag says so."""


class HeaderFlag:
    """Bits of HostedHeader.flags."""

    NEWLINES = 1 << 0
    REDUNDANT = 1 << 1
    ZEROED = 1 << 2
    COMPRESSED = 1 << 16
    MARKERS = 1 << 17


class HostedHeader(NamedTuple):
    """SparseExtentHeader: the first sector of a hosted sparse extent."""

    magic: bytes
    version: int
    flags: int
    capacity: int
    grain_size: int
    descriptor_offset: int
    descriptor_size: int
    num_gtes: int
    rgd_offset: int
    gd_offset: int
    overhead: int
    unclean: int
    newlines: bytes
    compress: int


HOSTED = Struct("<4sIIQQQQIQQQB4sH433x")
NEWLINES = b"\n \r\n"
"""Bytes that a transfer in text mode would have changed."""

DEFLATE = 1
"""HostedHeader.compress: grains are zlib streams (RFC 1950)."""


class CowdHeader(NamedTuple):
    """COWDisk_Header of an ESX host sparse extent, as far as it matters for reading."""

    magic: bytes
    version: int
    flags: int
    sectors: int
    grain_size: int
    gd_offset: int
    num_gdes: int
    free_sector: int


COWD = Struct("<4s7I")
COWD_TABLE = 4096
"""Entries of a grain table of a COWD extent."""
COWD_UNCLEAN = 1648
"""Byte offset of the COWD header's word that says whether the file was left open."""


class SeSparseHeader(NamedTuple):
    """The constant header of a space-efficient sparse extent."""

    magic: int
    version: int
    capacity: int
    grain_size: int
    grain_table_size: int
    flags: int
    reserved1: int
    reserved2: int
    reserved3: int
    reserved4: int
    volatile_header_offset: int
    volatile_header_size: int
    journal_header_offset: int
    journal_header_size: int
    journal_offset: int
    journal_size: int
    grain_dir_offset: int
    grain_dir_size: int
    grain_tables_offset: int
    grain_tables_size: int
    free_bitmap_offset: int
    free_bitmap_size: int
    backmap_offset: int
    backmap_size: int
    grains_offset: int
    grains_size: int
    pad: bytes


SESPARSE = Struct("<26Q304s")
SESPARSE_MAGIC = 0xCAFEBABE
SESPARSE_VERSION = 0x200000001
SESPARSE_GRAIN = 8
SESPARSE_TABLE = 64
VOLATILE = Struct("<4Q480s")
"""magic, free_gt_number, next_txn_seq_number, replay_journal, padding."""
VOLATILE_MAGIC = 0xCAFECAFE

MARKER = Struct("<QI")
"""Of a compressed grain: sector of the virtual disk, bytes of the stream that follows."""

METADATA_MARKER = Struct("<QII496x")
"""Sectors of metadata that follow, 0, MarkerType."""


class MarkerType:
    """What a marker of size 0 announces."""

    END_OF_STREAM = 0
    GRAIN_TABLE = 1
    GRAIN_DIRECTORY = 2
    FOOTER = 3


class Sparse(NamedTuple):
    """How one sparse extent file is read, whichever of the three kinds it is. All lengths and offsets are bytes."""

    capacity: int
    grain: int
    per_table: int
    """Entries of a grain table."""
    directory: int
    """Where the grain directory is."""
    entries: int
    """Entries of the grain directory."""
    redundant: int = 0
    """Where the second grain directory is; 0 for none."""
    zeroed: bool = False
    """Whether entry 1 means a grain of zeros."""
    compressed: bool = False
    marked: bool = False
    """Whether a compressed grain begins with a MARKER."""
    overhead: int = 0
    width: int = 4
    """Bytes of a directory or table entry: 8 for seSparse."""
    tables: int = 0
    """Where the grain tables of a seSparse extent begin."""
    grains: int = 0
    """Where the grains of a seSparse extent begin."""


class Part(NamedTuple):
    """One extent of the disk: `length` bytes from `start` of the virtual disk on."""

    start: int
    length: int
    type: str
    """FLAT, VMFS, ZERO, SPARSE, VMFSSPARSE, SESPARSE; empty for an image that is its own only extent."""
    name: bytes = b""
    access: str = "RW"
    device: int = 0
    offset: int = 0
    """Of a flat extent: where in its device it begins."""
    declared: int = 0
    """Bytes that the descriptor says this extent has."""
    sparse: Sparse | None = None
    """None where the extent is not sparse, or its file has not been opened yet."""

    @property
    def flat(self) -> bool:
        """Whether the extent is a plain stretch of its file."""
        return self.type in ("FLAT", "VMFS")
