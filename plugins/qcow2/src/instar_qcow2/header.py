"""The header of a qcow2 image, validated. Source: docs/interop/qcow2.txt of QEMU, "Header"."""

from __future__ import annotations

from instar_core.errors import ErrorKind, FormatError
from instar_qcow2 import layout, limits
from instar_qcow2.extensions import NO_EXTENSIONS, Extensions, feature_names, read_extensions

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NamedTuple

    from instar_core.source import Source
else:
    from instar_core.record import NamedTuple

U64 = (1 << 64) - 1
INT_MAX = (1 << 31) - 1
DISK = (1 << 63) - (1 << 21)
"""The largest virtual disk that qemu opens, about: its block layer stops short of 2^63 by its request alignment."""


class Header(NamedTuple):
    """The fields by the specification's names, then what follows the header in the first cluster.

    Everything in it has been checked: shifts are in range, tables are aligned and within limits (but may lie past the
    end of the file, which reads as zeros).
    """

    version: int
    backing_file_offset: int
    backing_file_size: int
    cluster_bits: int
    size: int
    crypt_method: int
    l1_size: int
    l1_table_offset: int
    refcount_table_offset: int
    refcount_table_clusters: int
    nb_snapshots: int
    snapshots_offset: int
    incompatible_features: int
    compatible_features: int
    autoclear_features: int
    refcount_order: int
    header_length: int
    compression_type: int
    extensions: Extensions = NO_EXTENSIONS
    backing_file: bytes | None = None

    @property
    def cluster_size(self) -> int:
        """Bytes of a cluster."""
        return 1 << self.cluster_bits

    @property
    def extended_l2(self) -> bool:
        """Whether L2 entries have subcluster bitmaps."""
        return bool(self.incompatible_features & layout.INCOMPAT_EXTL2)

    @property
    def data_file(self) -> bool:
        """Whether guest data lies in an external data file."""
        return bool(self.incompatible_features & layout.INCOMPAT_DATA_FILE)

    @property
    def l2_entry_size(self) -> int:
        """Bytes of an L2 entry."""
        return 16 if self.extended_l2 else 8

    @property
    def l2_entries(self) -> int:
        """Entries of an L2 table, which is one cluster."""
        return self.cluster_size // self.l2_entry_size

    @property
    def refcount_bits(self) -> int:
        """Bits of a refcount."""
        return 1 << self.refcount_order

    @property
    def disk_size(self) -> int:
        """Bytes of the virtual disk: whole sectors."""
        return self.size & ~511


def read_header(source: Source, *, checking: bool = False) -> Header:
    """The header, its extensions and the backing file's name, all validated as far as opening an image needs it.

    With `checking` a missing refcount table and a bad snapshot table pass, as a check reports those. Errors are
    FormatError in qemu's words.
    """
    header = _fields(source)
    bits = header.cluster_bits
    if not layout.MIN_CLUSTER_BITS <= bits <= layout.MAX_CLUSTER_BITS:
        raise FormatError(f"Unsupported cluster size: 2^{bits}", kind=ErrorKind.UNSUPPORTED, offset=20)
    if header.version >= 3:
        header = _version_3(source, header)
    if header.backing_file_offset > header.cluster_size:
        raise FormatError("Invalid backing file offset", offset=8)
    end = header.backing_file_offset or header.cluster_size
    _features(source, header, end)
    _tables(header, checking)
    header = header._replace(extensions=read_extensions(source, header, end))
    if header.crypt_method == layout.CRYPT_LUKS and header.extensions.crypto is None:
        raise FormatError("Missing CRYPTO header for crypt method 2", offset=32)
    return header._replace(backing_file=_backing_file(source, header))


def _fields(source: Source) -> Header:
    magic, version, *fields = source.unpack(layout.HEADER_V2, 0, pad=True)
    if magic != layout.MAGIC:
        raise FormatError("Image is not in qcow2 format", offset=0)
    if version not in (2, 3):
        raise FormatError(f"Unsupported qcow2 version {version}", kind=ErrorKind.UNSUPPORTED, offset=4)
    return Header._make((version, *fields, 0, 0, 0, 4, layout.HEADER_V2.size, 0, NO_EXTENSIONS, None))


def _version_3(source: Source, header: Header) -> Header:
    incompatible, compatible, autoclear, order, length = source.unpack(
        layout.HEADER_V3, layout.HEADER_V2.size, pad=True
    )
    if length < layout.HEADER_V3_LENGTH:
        raise FormatError("qcow2 header too short", offset=100)
    if length > header.cluster_size:
        raise FormatError("qcow2 header exceeds cluster size", offset=100)
    compression = 0
    if length > layout.COMPRESSION_TYPE_OFFSET:
        compression = source.read(layout.COMPRESSION_TYPE_OFFSET, 1, pad=True)[0]
    return header._replace(
        incompatible_features=incompatible,
        compatible_features=compatible,
        autoclear_features=autoclear,
        refcount_order=order,
        header_length=length,
        compression_type=compression,
    )


def _features(source: Source, header: Header, end: int) -> None:
    compression = header.compression_type
    if compression not in (layout.COMPRESSION_ZLIB, layout.COMPRESSION_ZSTD):
        raise FormatError(f"qcow2: unknown compression type: {compression}", kind=ErrorKind.UNSUPPORTED, offset=104)
    zlib = compression == layout.COMPRESSION_ZLIB
    if bool(header.incompatible_features & layout.INCOMPAT_COMPRESSION) == zlib:
        must = "must not" if zlib else "must"
        raise FormatError(f"qcow2: Compression type incompatible feature bit {must} be set", offset=72)
    unknown = header.incompatible_features & ~layout.INCOMPAT_KNOWN
    if unknown:
        names = feature_names(source, header.header_length, end)
        words = [names[bit] for bit in range(64) if unknown >> bit & 1 and bit in names]
        rest = sum(1 << bit for bit in range(64) if unknown >> bit & 1 and bit not in names)
        if rest:
            words.append(f"Unknown incompatible feature: {rest:x}")
        raise FormatError(f"Unsupported qcow2 feature(s): {', '.join(words)}", kind=ErrorKind.UNSUPPORTED, offset=72)
    if header.extended_l2 and header.cluster_size // layout.SUBCLUSTERS < 1 << layout.MIN_CLUSTER_BITS:
        size = header.cluster_size // layout.SUBCLUSTERS
        raise FormatError(f"Unsupported subcluster size: {size}", kind=ErrorKind.UNSUPPORTED, offset=72)
    if header.refcount_order > limits.REFCOUNT_ORDER:
        raise FormatError("Reference count entry width too large; may not exceed 64 bits", offset=96)
    if header.crypt_method > layout.CRYPT_LUKS:
        signed = header.crypt_method - (header.crypt_method >> 31 << 32)
        raise FormatError(f"Unsupported encryption method {signed}", kind=ErrorKind.UNSUPPORTED, offset=32)


def _tables(header: Header, checking: bool) -> None:
    if not header.refcount_table_clusters and not checking:
        raise FormatError("Image does not contain a reference count table", offset=56)
    size = header.refcount_table_clusters << header.cluster_bits
    table_fits(header, (header.refcount_table_offset, size), limits.REFCOUNT_TABLE, "Reference count table", 48)
    if not checking:
        snapshots_fit(header, "Snapshot table")
    table_fits(header, (header.l1_table_offset, 8 * header.l1_size), limits.L1_TABLE, "Active L1 table", 40)
    needed = l1_entries(header, header.size)
    if needed > INT_MAX:
        raise FormatError("Image is too big", kind=ErrorKind.LIMIT, offset=24)
    if header.l1_size < needed:
        raise FormatError("L1 table is too small", offset=36)
    if header.disk_size > DISK:
        raise FormatError("Could not refresh total sector count: File too large", kind=ErrorKind.LIMIT, offset=24)


def snapshots_fit(header: Header, what: str) -> None:
    """Raise FormatError, naming `what`, where the snapshot table's place or count is out of range."""
    size = layout.SNAPSHOT.size * header.nb_snapshots
    table_fits(header, (header.snapshots_offset, size), layout.SNAPSHOT.size * limits.SNAPSHOTS, what, 60)


def table_fits(header: Header, table: tuple[int, int], limit: int, what: str, field: int) -> None:
    """Raise FormatError, naming `what`, unless a `table` (offset, bytes) is within `limit` and aligned."""
    offset, size = table
    if size > limit:
        raise FormatError(f"{what} too large", kind=ErrorKind.LIMIT, offset=field)
    if offset > (1 << 63) - 1 - size or offset % header.cluster_size:
        raise FormatError(f"{what} offset invalid", offset=field)


def l1_entries(header: Header, size: int) -> int:
    """Entries of an L1 table for `size` bytes of disk, reckoned in 64 bits as qemu does, so that the words agree."""
    covered = header.l2_entries * header.cluster_size
    return (size + covered - 1 & U64) // covered


def _backing_file(source: Source, header: Header) -> bytes | None:
    if not header.backing_file_offset:
        return None
    length = header.backing_file_size
    if length > min(limits.BACKING_NAME, header.cluster_size - header.backing_file_offset):
        raise FormatError("Backing file name too long", kind=ErrorKind.LIMIT, offset=16)
    name = source.read(header.backing_file_offset, length, pad=True)
    return name.partition(b"\0")[0] or None
