"""The layout of qcow files as data: big-endian, offsets and lengths in bytes.

Names are those of QEMU's header; the format is also described by libqcow, "QEMU Copy-On-Write (QCOW) image file
format", version 1.
"""

from __future__ import annotations

from struct import Struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NamedTuple
else:
    from instar_core.record import NamedTuple

MAGIC = b"QFI\xfb"
VERSION = 1
SECTOR = 512

HEADER = Struct(">4sIQIIQBBHIQ")

CRYPT_NONE = 0
CRYPT_AES = 1

COMPRESSED = 1 << 63
"""Bit of an L2 entry: the cluster is stored compressed, and the bits below hold its length and its place."""


class Fields(NamedTuple):
    """The header as it is stored."""

    magic: bytes = MAGIC
    version: int = VERSION
    backing_file_offset: int = 0
    backing_file_size: int = 0
    mtime: int = 0
    size: int = 0
    cluster_bits: int = 12
    l2_bits: int = 9
    padding: int = 0
    crypt_method: int = CRYPT_NONE
    l1_table_offset: int = 0


def length_shift(cluster_bits: int) -> int:
    """Where the length of a compressed cluster begins in its L2 entry; its place is in the bits below."""
    return 63 - cluster_bits
