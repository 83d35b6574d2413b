"""VDI files: little-endian. Header, block map at 512, blocks of 1 MiB from 1024 on."""

from __future__ import annotations

from collections.abc import Sequence
from struct import pack
from typing import Any

from ..case import Blob

FREE = 0xFFFFFFFF
FIELDS = {
    "signature": (0x40, "<I"),
    "version": (0x44, "<I"),
    "header_size": (0x48, "<I"),
    "type": (0x4C, "<I"),
    "description": (0x54, "<256s"),
    "bmap_offset": (0x154, "<I"),
    "data": (0x158, "<I"),
    "sector": (0x168, "<I"),
    "size": (0x170, "<Q"),
    "block": (0x178, "<I"),
    "extra": (0x17C, "<I"),
    "blocks": (0x180, "<I"),
    "allocated": (0x184, "<I"),
    "link": (0x1A8, "<16s"),
    "parent": (0x1B8, "<16s"),
}


def image(
    *, bmap: Sequence[int] = (FREE, FREE), more: Sequence[tuple[int, bytes]] = (), file: int = 1024, **fields: Any
) -> Blob:
    """An image of 2 MiB. `fields` replace those of the header."""
    own: dict[str, Any] = {
        "signature": 0xBEDA107F,
        "version": 0x10001,
        "header_size": 0x180,
        "type": 1,
        "bmap_offset": 512,
        "data": 1024,
        "sector": 512,
        "size": 2 << 20,
        "block": 1 << 20,
        "blocks": len(bmap),
        "allocated": sum(entry < 0xFFFFFFFE for entry in bmap),
    }
    own.update(fields)
    blob = Blob(size=file).put(0, b"<<< Oracle VM VirtualBox Disk Image >>>".ljust(512, b"\0"))
    for name, value in own.items():
        offset, layout = FIELDS[name]
        blob.put(offset, pack(layout, value))
    blob.put(512, pack(f"<{len(bmap)}I", *bmap))
    for offset, data in more:
        blob.put(offset, data)
    return blob
