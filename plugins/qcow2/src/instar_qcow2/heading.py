"""The header of a new image: its fields, extensions and the backing file's name.

Source: docs/interop/qcow2.txt of QEMU, "Header" and "Header extensions".
"""

from __future__ import annotations

from instar_core.errors import ErrorKind, FormatError
from instar_qcow2 import layout, limits
from instar_qcow2.sizes import luks_offset

TYPE_CHECKING = False
if TYPE_CHECKING:
    from instar_qcow2.plan import Plan

FEATURES = (
    (0, 0, b"dirty bit"),
    (0, 1, b"corrupt bit"),
    (0, 2, b"external data file"),
    (0, 3, b"compression type"),
    (0, 4, b"extended L2 entries"),
    (1, 0, b"lazy refcounts"),
    (2, 0, b"bitmaps"),
    (2, 1, b"raw external data"),
)
"""(type, bit, name) of every feature bit that the specification defines."""


def heading(plan: Plan, l1_offset: int, refcount_offset: int, refcount_clusters: int) -> bytes:
    """The used bytes at the start of the first cluster. Offsets are bytes.

    The feature-name table is left out where the cluster has no room for it, as qemu does. Raises FormatError where
    the backing file's name does not fit, in qemu's words.
    """
    fixed = extension(layout.EXT_BACKING_FORMAT, plan.backing_format) if plan.backing_format else b""
    if plan.data_file:
        fixed += extension(layout.EXT_DATA_FILE, plan.data_file)
    if plan.luks_clusters:
        where = layout.CRYPTO.pack(luks_offset(plan, l1_offset), plan.encryption.luks_length)
        fixed += extension(layout.EXT_CRYPTO, where)
    names = b"".join(layout.FEATURE_NAME.pack(*feature) for feature in FEATURES)
    end = extension(layout.EXT_END, b"")
    start = layout.HEADER_LENGTH if plan.version >= 3 else layout.HEADER_V2.size
    room = plan.cluster_size - start - len(fixed) - len(end) - len(plan.backing_file)
    if len(plan.backing_file) > limits.BACKING_NAME:
        raise FormatError(_unassignable(plan, "Invalid argument"), kind=ErrorKind.LIMIT)
    if room < 0:
        raise FormatError(_unassignable(plan, "No space left on device"), kind=ErrorKind.LIMIT)
    features = extension(layout.EXT_FEATURE_NAMES, names)
    if plan.version >= 3 and len(features) < room:
        fixed += features
    body = fixed + end
    backing_offset = start + len(body) if plan.backing_file else 0
    return _fields(plan, backing_offset, l1_offset, refcount_offset, refcount_clusters) + body + plan.backing_file


def extension(kind: int, data: bytes) -> bytes:
    """A header extension, padded to a multiple of 8."""
    return layout.EXTENSION.pack(kind, len(data)) + data + bytes(-len(data) % 8)


def _fields(plan: Plan, backing_offset: int, l1_offset: int, refcount_offset: int, refcount_clusters: int) -> bytes:
    base = layout.HEADER_V2.pack(
        layout.MAGIC, plan.version, backing_offset, len(plan.backing_file), plan.cluster_bits, plan.size,
        plan.encryption.method, plan.tables, l1_offset, refcount_offset, refcount_clusters, 0, 0,
    )  # fmt: skip
    if plan.version < 3:
        return base
    incompatible = layout.INCOMPAT_DATA_FILE if plan.data_file else 0
    incompatible |= layout.INCOMPAT_COMPRESSION if plan.compression_type else 0
    incompatible |= layout.INCOMPAT_EXTL2 if plan.extended_l2 else 0
    compatible = layout.COMPAT_LAZY_REFCOUNTS if plan.lazy_refcounts else 0
    autoclear = layout.AUTOCLEAR_DATA_FILE_RAW if plan.data_file_raw else 0
    more = layout.HEADER_V3.pack(incompatible, compatible, autoclear, plan.refcount_order, layout.HEADER_LENGTH)
    return base + more + bytes((plan.compression_type,)) + bytes(7)


def _unassignable(plan: Plan, reason: str) -> str:
    name, form = (text.decode("utf-8", "replace") for text in (plan.backing_file, plan.backing_format))
    return f"Could not assign backing file '{name}' with format '{form}': {reason}"
