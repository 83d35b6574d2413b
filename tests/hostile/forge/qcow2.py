"""qcow2 images from the specification, with any field replaced. Big-endian; clusters as the first ones lie:

header, refcount table, refcount block, L1 table, L2 table, then content.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from struct import pack
from typing import Any

from ..case import Blob

COPIED = 1 << 63
COMPRESSED = 1 << 62
BACKING_FORMAT, DATA_FILE, BITMAPS, FEATURES, CRYPTO = 0xE2792ACA, 0x44415441, 0x23852875, 0x6803F857, 0x0537BE77
EXTERNAL, ZSTD, EXTENDED = 4, 8, 16

FIELDS = {
    "magic": (0, ">4s"),
    "version": (4, ">I"),
    "backing_offset": (8, ">Q"),
    "backing_size": (16, ">I"),
    "cluster_bits": (20, ">I"),
    "size": (24, ">Q"),
    "crypt": (32, ">I"),
    "l1_size": (36, ">I"),
    "l1_offset": (40, ">Q"),
    "reftable_offset": (48, ">Q"),
    "reftable_clusters": (56, ">I"),
    "snapshots": (60, ">I"),
    "snapshots_offset": (64, ">Q"),
    "incompatible": (72, ">Q"),
    "compatible": (80, ">Q"),
    "autoclear": (88, ">Q"),
    "refcount_order": (96, ">I"),
    "header_length": (100, ">I"),
    "compression": (104, ">B"),
}


def extension(kind: int, data: bytes) -> bytes:
    """A header extension, padded to eight bytes."""
    return pack(">II", kind, len(data)) + data + bytes(-len(data) % 8)


def image(
    *,
    extensions: bytes = b"",
    backing: bytes = b"",
    l1: Sequence[int] | None = None,
    l2: Sequence[int] = (),
    content: bytes = b"",
    more: Sequence[tuple[int, bytes]] = (),
    clusters: int = 16,
    bits: int = 16,
    **fields: Any,
) -> Blob:
    """An image of 1 MiB, of `clusters` clusters. `more` are pieces at offsets; `fields` replace those of the header."""
    cluster = 1 << bits
    own: dict[str, Any] = {
        "magic": b"QFI\xfb",
        "version": 3,
        "cluster_bits": bits,
        "size": 1 << 20,
        "l1_size": max(1, (1 << 20) // (cluster // 8 * cluster)) if l1 is None else len(l1),
        "l1_offset": 3 * cluster,
        "reftable_offset": cluster,
        "reftable_clusters": 1,
        "refcount_order": 4,
        "header_length": 112,
    }
    if backing:
        own.update(backing_offset=112 + len(extensions) + 8, backing_size=len(backing))
    own.update(fields)
    blob = Blob(size=clusters * cluster).put(0, bytes(112))
    for name, value in own.items():
        offset, layout = FIELDS[name]
        blob.put(offset, pack(layout, value))
    blob.put(112, extensions + bytes(8) + backing)
    blob.put(cluster, pack(">Q", 2 * cluster)).put(2 * cluster, pack(">H", 1) * min(clusters, cluster // 2))
    entries = [4 * cluster | COPIED] if l1 is None else list(l1)
    blob.put(3 * cluster, pack(f">{len(entries)}Q", *entries)).put(4 * cluster, pack(f">{len(l2)}Q", *l2))
    if content:
        blob.put(5 * cluster, content)
    for offset, data in more:
        blob.put(offset, data)
    return blob.cut(clusters * cluster)


def packed(bits: int, offset: int, length: int) -> int:
    """The L2 entry of a compressed cluster: `length` bytes at `offset`."""
    sectors = (offset % 512 + length + 511) // 512 - 1
    return COMPRESSED | sectors << 62 - (bits - 8) | offset


def deflated(data: bytes) -> bytes:
    """The bytes as clusters are compressed: raw deflate with a window of 4 KiB."""
    engine = zlib.compressobj(9, zlib.DEFLATED, -12)
    return engine.compress(data) + engine.flush()


def snapshot(name: bytes, id: bytes = b"1", *, l1_offset: int = 0, l1_size: int = 0, extra: bytes = b"") -> bytes:
    """An entry of the snapshot table."""
    head = pack(">QIHHIIQII", l1_offset, l1_size, len(id), len(name), 0, 0, 0, 0, len(extra)) + extra + id + name
    return head + bytes(-len(head) % 8)
