"""The layout of UDIF files as data: big-endian, offsets and lengths in bytes, disk places in sectors of 512.

Apple publishes no description. Names are those that its headers for disk images use, as libyal's "Universal Disk Image
Format" and others after it give them.
"""

from __future__ import annotations

from struct import Struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NamedTuple
else:
    from instar_core.record import NamedTuple

SECTOR = 512

KOLY_MAGIC = b"koly"
KOLY = Struct(">4sIIIQQQQQII16sII128sQQ120sII128sIQ12x")

MISH_MAGIC = b"mish"
MISH = Struct(">4sIQQQIIIIIIIIII128sI")

CHUNK = Struct(">IIQQQQ")
"""type, comment, first sector, sectors, offset, length of a chunk: an entry of a block table."""

ENCRYPTED_HEAD = b"encrcdsa"
ENCRYPTED_TAIL = b"cdsaencr"

CRC32 = 2
"""Checksum type whose value is 32 bits of the 128 bytes that a checksum has room for."""


class Koly(NamedTuple):
    """The trailer: the last 512 bytes of the file."""

    magic: bytes
    version: int
    header_size: int
    flags: int
    running_data_fork_offset: int
    data_fork_offset: int
    data_fork_length: int
    rsrc_fork_offset: int
    rsrc_fork_length: int
    segment_number: int
    segment_count: int
    segment_id: bytes
    data_checksum_type: int
    data_checksum_size: int
    data_checksum: bytes
    xml_offset: int
    xml_length: int
    reserved: bytes
    checksum_type: int
    checksum_size: int
    checksum: bytes
    image_variant: int
    sector_count: int


class Mish(NamedTuple):
    """The head of a block table, as `blkx` resources hold them: one for each partition or stretch of the disk."""

    magic: bytes
    version: int
    first_sector: int
    sector_count: int
    data_offset: int
    buffers_needed: int
    descriptor: int
    reserved1: int
    reserved2: int
    reserved3: int
    reserved4: int
    reserved5: int
    reserved6: int
    checksum_type: int
    checksum_size: int
    checksum: bytes
    chunk_count: int


class ChunkType:
    """What a chunk's stored bytes are."""

    ZERO = 0x00000000
    RAW = 0x00000001
    IGNORE = 0x00000002
    """Sectors whose content does not matter; they read as zeros."""
    COMMENT = 0x7FFFFFFE
    ADC = 0x80000004
    ZLIB = 0x80000005
    BZIP2 = 0x80000006
    LZFSE = 0x80000007
    LZMA = 0x80000008
    TERMINATOR = 0xFFFFFFFF


CODINGS = {
    ChunkType.ADC: "adc",
    ChunkType.ZLIB: "zlib",
    ChunkType.BZIP2: "bzip2",
    ChunkType.LZFSE: "lzfse",
    ChunkType.LZMA: "lzma",
}
"""Chunk types that have to be decoded, and the names of their codings."""

EMPTY = (ChunkType.ZERO, ChunkType.IGNORE)
SKIPPED = (ChunkType.COMMENT, ChunkType.TERMINATOR)
