"""The header of a qcow image, validated. Errors are FormatError in qemu's words."""

from __future__ import annotations

from instar_core.errors import ErrorKind, FormatError
from instar_qcow import layout, limits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NamedTuple

    from instar_core.source import Source
else:
    from instar_core.record import NamedTuple

U64 = (1 << 64) - 1
INT64_MAX = (1 << 63) - 1


class Header(NamedTuple):
    """How the image is read. The L1 table may lie past the end of the file, which reads as zeros."""

    size: int
    """Bytes of the virtual disk, whole sectors."""
    cluster_bits: int
    l2_bits: int
    crypt_method: int
    l1_table_offset: int
    l1_size: int
    """Entries of the L1 table: there is one for every L2 table that the disk could need."""
    backing_file_offset: int = 0
    backing_file: bytes = b""
    mtime: int = 0

    @property
    def cluster_size(self) -> int:
        """Bytes of a cluster."""
        return 1 << self.cluster_bits

    @property
    def l2_entries(self) -> int:
        """Entries of an L2 table."""
        return 1 << self.l2_bits

    @property
    def l2_bytes(self) -> int:
        """Bytes of an L2 table."""
        return 8 << self.l2_bits

    @property
    def clusters(self) -> int:
        """Clusters of the virtual disk."""
        return -(-self.size >> self.cluster_bits)

    @property
    def encrypted(self) -> bool:
        """Whether clusters that are not compressed are encrypted."""
        return self.crypt_method != layout.CRYPT_NONE


def read_header(source: Source) -> Header:
    """The header and the backing file's name. Fields are judged in qemu's order, so that the first fault is qemu's."""
    found = layout.Fields._make(source.unpack(layout.HEADER, 0, pad=True))
    if found.magic != layout.MAGIC:
        raise FormatError("Image not in qcow format", offset=0)
    if found.version != layout.VERSION:
        raise FormatError(
            f"qcow (v1) does not support qcow version {found.version}", kind=ErrorKind.UNSUPPORTED, offset=4
        )
    if found.size <= 1:
        raise FormatError("Image size is too small (must be at least 2 bytes)", offset=24)
    if not limits.CLUSTER_BITS[0] <= found.cluster_bits <= limits.CLUSTER_BITS[1]:
        raise FormatError("Cluster size must be between 512 and 64k", kind=ErrorKind.LIMIT, offset=32)
    if not limits.L2_BITS[0] <= found.l2_bits <= limits.L2_BITS[1]:
        raise FormatError("L2 table size must be between 512 and 64k", kind=ErrorKind.LIMIT, offset=33)
    if found.crypt_method > layout.CRYPT_AES:
        raise FormatError("invalid encryption method in qcow header", kind=ErrorKind.UNSUPPORTED, offset=36)
    l1_size = entries(found.size, found.cluster_bits + found.l2_bits)
    if found.l1_table_offset + 8 * l1_size > INT64_MAX:
        raise FormatError("Input/output error: the L1 table lies where no file reaches", offset=40)
    return Header(
        size=found.size // layout.SECTOR * layout.SECTOR,
        cluster_bits=found.cluster_bits,
        l2_bits=found.l2_bits,
        crypt_method=found.crypt_method,
        l1_table_offset=found.l1_table_offset,
        l1_size=l1_size,
        backing_file_offset=found.backing_file_offset,
        backing_file=_backing_file(source, found),
        mtime=found.mtime,
    )


def entries(size: int, covered_bits: int) -> int:
    """Entries of the L1 table of a disk of `size` bytes, where an L2 table covers 2^covered_bits of them.

    Raises FormatError (LIMIT) above limits.L1_ENTRIES.
    """
    needed = -(-size >> covered_bits)
    if needed > limits.L1_ENTRIES:
        raise FormatError("Image too large", kind=ErrorKind.LIMIT, offset=24)
    return needed


def _backing_file(source: Source, found: layout.Fields) -> bytes:
    if not found.backing_file_offset:
        return b""
    if found.backing_file_size > limits.BACKING_NAME:
        raise FormatError("Backing file name too long", kind=ErrorKind.LIMIT, offset=16)
    if found.backing_file_offset + found.backing_file_size > INT64_MAX:
        raise FormatError("Input/output error: the backing file's name lies where no file reaches", offset=8)
    name = source.read(found.backing_file_offset, found.backing_file_size, pad=True)
    return name.partition(b"\0")[0]
