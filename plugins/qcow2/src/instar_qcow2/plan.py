"""What a new image is to be: the create options, validated in qemu's order and words."""

from __future__ import annotations

from instar_core.errors import ErrorKind, FormatError
from instar_qcow2 import layout, limits
from instar_qcow2.encryptionplan import UNENCRYPTED, choose, refuse_alias

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, NamedTuple

    from instar_core.types import Create, KeyPlan
    from instar_qcow2.encryptionplan import Encryption
else:
    from instar_core.record import NamedTuple

SECTOR = 512
EXTENDED_MIN_CLUSTER = 1 << 14
V3 = "with compatibility level 1.1 and above (use version=v3 or greater)"
VERSIONS = {None: 3, "1.1": 3, "v3": 3, "0.10": 2, "v2": 2}
PREALLOCATION = ("off", "metadata", "falloc", "full")
COMPRESSION = {"zlib": layout.COMPRESSION_ZLIB, "zstd": layout.COMPRESSION_ZSTD}


class Plan(NamedTuple):
    """The decided properties of a new image. `size` is the virtual size in bytes, a multiple of 512."""

    size: int
    version: int = 3
    cluster_bits: int = 16
    refcount_order: int = 4
    extended_l2: bool = False
    lazy_refcounts: bool = False
    compression_type: int = layout.COMPRESSION_ZLIB
    compress: bool = False
    preallocation: str = "off"
    backing_file: bytes = b""
    backing_format: bytes = b""
    data_file: bytes = b""
    data_file_raw: bool = False
    keep_data_file: bool = False
    encryption: Encryption = UNENCRYPTED
    keys: KeyPlan | None = None
    entropy: bytes = b""

    @property
    def cluster_size(self) -> int:
        """Bytes of a cluster."""
        return 1 << self.cluster_bits

    @property
    def entry_size(self) -> int:
        """Bytes of an L2 entry."""
        return 16 if self.extended_l2 else 8

    @property
    def l2_entries(self) -> int:
        """Entries of an L2 table, which is one cluster."""
        return self.cluster_size // self.entry_size

    @property
    def clusters(self) -> int:
        """Clusters of the virtual disk."""
        return (self.size + self.cluster_size - 1) >> self.cluster_bits

    @property
    def tables(self) -> int:
        """L2 tables that cover the virtual disk, which is also the number of L1 entries."""
        return -(-self.clusters // self.l2_entries)

    @property
    def luks_clusters(self) -> int:
        """Clusters of the LUKS header with its key material; none without."""
        return -(-self.encryption.luks_length >> self.cluster_bits)

    @property
    def unwritten_zeros(self) -> bool:
        """Whether clusters that are allocated and not written must be said to read as zeros: decrypted they do not."""
        return self.encryption.method != layout.CRYPT_NONE and self.version >= 3 and not self.keep_data_file

    @property
    def subcluster_size(self) -> int:
        """Bytes of a subcluster, where L2 entries are extended."""
        return self.cluster_size // layout.SUBCLUSTERS

    @property
    def unit(self) -> int:
        """Bytes in which content is taken: a cluster, or a subcluster where there are any and nothing is encoded."""
        if self.extended_l2 and not self.compress:
            return self.subcluster_size
        return self.cluster_size


def plan_image(request: Create) -> Plan:
    """The plan of the image that the request asks for.

    Raises FormatError: what qemu-img refuses, with its message and, where several faults meet, the same one first.
    """
    options = request.options
    data_file = _name(options.get("data_file"))
    if not data_file and options.get("data_file") is not None:
        raise FormatError("Could not create '': No such file or directory")
    keep = bool(options.get("keep_data_file"))
    if keep and not data_file:
        raise FormatError("Must not use 'keep_data_file=on' without 'data_file'")
    refuse_alias(options)
    version = _choice(VERSIONS, options.get("compat"), "version")
    encryption = choose(options)
    preallocation = options.get("preallocation") or "off"
    _choice(dict.fromkeys(PREALLOCATION, ""), preallocation, "preallocation")
    compression = _choice(COMPRESSION, options.get("compression_type") or "zlib", "compression-type")
    backing = request.backing or {}
    backing_file = _name(options.get("backing_file")) or _name(backing.get("name"))
    backing_format = _name(options.get("backing_fmt")) or _name(backing.get("format"))
    extended, raw = bool(options.get("extended_l2")), bool(options.get("data_file_raw"))
    if keep:
        _keep(preallocation, raw)
    if extended and version < 3:
        raise FormatError(f"Extended L2 entries are only supported {V3}")
    cluster_bits = _cluster_bits(options.get("cluster_size"), extended)
    if backing_file and preallocation != "off" and not extended:
        raise FormatError("Backing file and preallocation can only be used at the same time if extended_l2 is on")
    if backing_format and not backing_file:
        raise FormatError("Backing format cannot be used without backing file")
    lazy = bool(options.get("lazy_refcounts"))
    if lazy and version < 3:
        raise FormatError(f"Lazy refcounts only supported {V3}")
    order = _refcount_order(options.get("refcount_bits"), version)
    _data_file(data_file, raw, backing_file, version)
    if compression != layout.COMPRESSION_ZLIB and version < 3:
        raise FormatError(f"Non-zlib compression type is only supported {V3}")
    if raw and preallocation == "off":
        preallocation = "metadata"
    if request.compress:
        if encryption.method != layout.CRYPT_NONE:
            raise FormatError("Compression and encryption not supported at the same time", kind=ErrorKind.UNSUPPORTED)
        _compressible(options.get("preallocation"), data_file)
    size = (request.size + SECTOR - 1) // SECTOR * SECTOR
    plan = Plan(
        size, version, cluster_bits, order, extended, lazy, compression, request.compress, preallocation,
        backing_file, backing_format, data_file, raw, keep, encryption, request.keys, request.entropy,
    )  # fmt: skip
    if 8 * plan.tables > limits.L1_TABLE or size < 0:
        raise FormatError(
            "The image size is too large for file format 'qcow2' (try using a larger cluster size)",
            kind=ErrorKind.LIMIT,
        )
    if encryption.method != layout.CRYPT_NONE and options.get("encrypt.key-secret") is None:
        raise FormatError("Parameter 'encrypt.key-secret' is required for cipher")
    return plan


def _name(value: object) -> bytes:
    if isinstance(value, str):
        return value.encode("utf-8", "surrogateescape")
    return bytes(value) if isinstance(value, (bytes, bytearray)) else b""


def _choice(choices: Mapping[Any, Any], value: Any, parameter: str) -> Any:
    if value not in choices:
        raise FormatError(f"Parameter '{parameter}' does not accept value '{value}'")
    return choices[value]


def _keep(preallocation: str, raw: bool) -> None:
    if preallocation in ("falloc", "full"):
        raise FormatError(
            "Preallocating more than only metadata would overwrite the external data file's content"
            " and is therefore incompatible with 'keep_data_file=on'"
        )
    if preallocation != "metadata" and not raw:
        raise FormatError(
            "'keep_data_file=on' requires 'preallocation=metadata' or 'data_file_raw=on',"
            " or the file contents will not be visible"
        )


def _cluster_bits(given: int | None, extended: bool) -> int:
    size = 1 << 16 if given is None else given
    if size & (size - 1) or not 1 << layout.MIN_CLUSTER_BITS <= size <= 1 << layout.MAX_CLUSTER_BITS:
        raise FormatError("Cluster size must be a power of two between 512 and 2048k")
    if extended and size < EXTENDED_MIN_CLUSTER:
        raise FormatError(
            f"Extended L2 entries are only supported with cluster sizes of at least {EXTENDED_MIN_CLUSTER} bytes"
        )
    return size.bit_length() - 1


def _refcount_order(given: int | None, version: int) -> int:
    bits = 16 if given is None else given
    if bits & (bits - 1) or not 1 <= bits <= 1 << limits.REFCOUNT_ORDER:
        raise FormatError("Refcount width must be a power of two and may not exceed 64 bits")
    if bits != 16 and version < 3:
        raise FormatError(
            "Different refcount widths than 16 bits require compatibility level 1.1 or above"
            " (use version=v3 or greater)"
        )
    return bits.bit_length() - 1


def _data_file(name: bytes, raw: bool, backing_file: bytes, version: int) -> None:
    if raw and not name:
        raise FormatError("data-file-raw requires data-file")
    if raw and backing_file:
        raise FormatError("Backing file and data-file-raw cannot be used at the same time")
    if name and version < 3:
        raise FormatError(f"External data files are only supported {V3}")


def _compressible(preallocation: str | None, data_file: bytes) -> None:
    if preallocation not in (None, "off"):
        raise FormatError("Compression and preallocation not supported at the same time", kind=ErrorKind.UNSUPPORTED)
    if data_file:
        raise FormatError("Compressed clusters cannot be stored in an external data file", kind=ErrorKind.UNSUPPORTED)
