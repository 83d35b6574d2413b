"""qcow (version 1) images: big-endian. Header and name, L1 table at 4096, L2 table at 8192, then content."""

from __future__ import annotations

from collections.abc import Sequence
from struct import pack
from typing import Any

from ..case import Blob

COMPRESSED = 1 << 63
FIELDS = {
    "magic": (0, ">4s"),
    "version": (4, ">I"),
    "backing_offset": (8, ">Q"),
    "backing_size": (16, ">I"),
    "size": (24, ">Q"),
    "cluster_bits": (32, ">B"),
    "l2_bits": (33, ">B"),
    "crypt": (36, ">I"),
    "l1_offset": (40, ">Q"),
}


def image(
    *,
    backing: bytes = b"",
    l1: Sequence[int] = (8192,),
    l2: Sequence[int] = (),
    more: Sequence[tuple[int, bytes]] = (),
    **fields: Any,
) -> Blob:
    """An image of 1 MiB with clusters of 4 KiB in a file of 64 KiB. `fields` replace those of the header."""
    own: dict[str, Any] = {
        "magic": b"QFI\xfb",
        "version": 1,
        "size": 1 << 20,
        "cluster_bits": 12,
        "l2_bits": 9,
        "l1_offset": 4096,
    }
    if backing:
        own.update(backing_offset=48, backing_size=len(backing))
    own.update(fields)
    blob = Blob(size=65536).put(0, bytes(48))
    for name, value in own.items():
        offset, layout = FIELDS[name]
        blob.put(offset, pack(layout, value))
    blob.put(48, backing).put(4096, pack(f">{len(l1)}Q", *l1)).put(8192, pack(f">{len(l2)}Q", *l2))
    for offset, data in more:
        blob.put(offset, data)
    return blob
