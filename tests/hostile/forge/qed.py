"""QED images: little-endian. Header and name, L1 table of two clusters, L2 table of two, then content."""

from __future__ import annotations

from collections.abc import Sequence
from struct import pack
from typing import Any

from ..case import Blob

CLUSTER = 4096
BACKING, NEED_CHECK, BACKING_IS_RAW = 1, 2, 4
FIELDS = {
    "magic": (0, "<4s"),
    "cluster_size": (4, "<I"),
    "table_size": (8, "<I"),
    "header_size": (12, "<I"),
    "features": (16, "<Q"),
    "compatible": (24, "<Q"),
    "autoclear": (32, "<Q"),
    "l1_offset": (40, "<Q"),
    "size": (48, "<Q"),
    "backing_offset": (56, "<I"),
    "backing_size": (60, "<I"),
}


def image(
    *,
    backing: bytes = b"",
    l1: Sequence[int] = (3 * CLUSTER,),
    l2: Sequence[int] = (),
    more: Sequence[tuple[int, bytes]] = (),
    clusters: int = 16,
    **fields: Any,
) -> Blob:
    """An image of 1 MiB. `fields` replace those of the header."""
    own: dict[str, Any] = {
        "magic": b"QED\0",
        "cluster_size": CLUSTER,
        "table_size": 2,
        "header_size": 1,
        "features": BACKING if backing else 0,
        "l1_offset": CLUSTER,
        "size": 1 << 20,
        "backing_offset": 64 if backing else 0,
        "backing_size": len(backing),
    }
    own.update(fields)
    blob = Blob(size=clusters * CLUSTER).put(0, bytes(64))
    for name, value in own.items():
        offset, layout = FIELDS[name]
        blob.put(offset, pack(layout, value))
    blob.put(64, backing).put(CLUSTER, pack(f"<{len(l1)}Q", *l1)).put(3 * CLUSTER, pack(f"<{len(l2)}Q", *l2))
    for offset, data in more:
        blob.put(offset, data)
    return blob.cut(clusters * CLUSTER)
