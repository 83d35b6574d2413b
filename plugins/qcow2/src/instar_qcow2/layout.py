"""The layout of a qcow2 image, as data. Source: docs/interop/qcow2.txt of QEMU, whose words are used here.

All integers are big-endian.
"""

from __future__ import annotations

from struct import Struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from instar_qcow2.header import Header

MAGIC = b"QFI\xfb"

HEADER_V2 = Struct(">4sIQIIQIIQQIIQ")
"""magic, version, backing_file_offset, backing_file_size, cluster_bits, size, crypt_method, l1_size, l1_table_offset,
refcount_table_offset, refcount_table_clusters, nb_snapshots, snapshots_offset (72 bytes)"""

HEADER_V3 = Struct(">QQQII")
"""At 72: incompatible_features, compatible_features, autoclear_features, refcount_order, header_length (to 104)"""

HEADER_V3_LENGTH = 104
COMPRESSION_TYPE_OFFSET = 104
HEADER_LENGTH = 112
"""Length of the header that is written: with compression_type and its padding."""

CRYPT_NONE, CRYPT_AES, CRYPT_LUKS = 0, 1, 2

INCOMPAT_DIRTY = 1 << 0
INCOMPAT_CORRUPT = 1 << 1
INCOMPAT_DATA_FILE = 1 << 2
INCOMPAT_COMPRESSION = 1 << 3
INCOMPAT_EXTL2 = 1 << 4
INCOMPAT_KNOWN = 0b11111

COMPAT_LAZY_REFCOUNTS = 1 << 0

AUTOCLEAR_BITMAPS = 1 << 0
AUTOCLEAR_DATA_FILE_RAW = 1 << 1

COMPRESSION_ZLIB, COMPRESSION_ZSTD = 0, 1

EXTENSION = Struct(">II")
"""type, length of a header extension; its data is padded to a multiple of 8"""
EXT_END = 0x00000000
EXT_BACKING_FORMAT = 0xE2792ACA
EXT_FEATURE_NAMES = 0x6803F857
EXT_BITMAPS = 0x23852875
EXT_CRYPTO = 0x0537BE77
EXT_DATA_FILE = 0x44415441

FEATURE_NAME = Struct(">BB46s")
"""type (0 incompatible, 1 compatible, 2 autoclear), bit number, name"""

BITMAPS = Struct(">IIQQ")
"""nb_bitmaps, reserved, bitmap_directory_size, bitmap_directory_offset"""

BITMAP_ENTRY = Struct(">QIIBBHI")
"""bitmap_table_offset, bitmap_table_size, flags, type, granularity_bits, name_size, extra_data_size"""
BITMAP_IN_USE, BITMAP_AUTO, BITMAP_EXTRA_COMPATIBLE = 1 << 0, 1 << 1, 1 << 2
BITMAP_TYPE_DIRTY = 1

CRYPTO = Struct(">QQ")
"""offset, length of the LUKS header"""

SNAPSHOT = Struct(">QIHHIIQII")
"""l1_table_offset, l1_size, id_str_size, name_size, date_sec, date_nsec, vm_clock_nsec, vm_state_size,
extra_data_size; then extra data, id, name, padded to a multiple of 8"""
SNAPSHOT_EXTRA = Struct(">QQQ")
"""vm_state_size (64 bits), virtual disk size, icount"""

COPIED = 1 << 63
COMPRESSED = 1 << 62
ZERO = 1 << 0
OFFSET_MASK = 0x00FFFFFFFFFFFE00
L1_RESERVED = 0x7F000000000001FF
L2_RESERVED = 0x3F000000000001FE
REFTABLE_OFFSET_MASK = 0xFFFFFFFFFFFFFE00
BITMAP_TABLE_OFFSET_MASK = 0x00FFFFFFFFFFFE00

SUBCLUSTERS = 32
"""Subclusters of a cluster when extended L2 entries are in use."""

U64 = (1 << 64) - 1
ALL = (1 << SUBCLUSTERS) - 1
"""A bit for each subcluster."""

MIN_CLUSTER_BITS, MAX_CLUSTER_BITS = 9, 21


def compressed_field_bits(cluster_bits: int) -> int:
    """Width of the host-offset field of a compressed cluster descriptor: 62 - (cluster_bits - 8)."""
    return 62 - (cluster_bits - 8)


def compressed_place(header: Header, entry: int) -> tuple[int, int]:
    """(offset, most bytes stored) of a compressed cluster: up to the end of its last 512-byte sector."""
    bits = compressed_field_bits(header.cluster_bits)
    offset = entry & (1 << bits) - 1
    sectors = (entry & COMPRESSED - 1) >> bits
    return offset, (sectors + 1) * 512 - offset % 512
