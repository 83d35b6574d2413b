"""Growing disks of Bochs: little-endian. Header of 512 bytes, catalogue, then extents behind their bitmaps."""

from __future__ import annotations

from collections.abc import Sequence
from struct import pack
from typing import Any

from ..case import Blob

FREE = 0xFFFFFFFF
FIELDS = {
    "version": (64, "<I"),
    "header": (68, "<I"),
    "catalog_size": (72, "<I"),
    "bitmap": (76, "<I"),
    "extent": (80, "<I"),
    "size": (88, "<Q"),
}


def image(*, catalog: Sequence[int] = (FREE,) * 16, more: Sequence[tuple[int, bytes]] = (), **fields: Any) -> Blob:
    """A disk of 64 KiB in extents of 4 KiB. `fields` replace those of the header."""
    own = {
        "version": 0x20000,
        "header": 512,
        "catalog_size": len(catalog),
        "bitmap": 512,
        "extent": 4096,
        "size": 65536,
    }
    own.update(fields)
    blob = Blob(pack("<32s16s16s", b"Bochs Virtual HD Image", b"Redolog", b"Growing").ljust(512, b"\0"))
    for name, value in own.items():
        offset, layout = FIELDS[name]
        blob.put(offset, pack(layout, value))
    blob.put(512, pack(f"<{len(catalog)}I", *catalog))
    for offset, data in more:
        blob.put(offset, data)
    return blob
