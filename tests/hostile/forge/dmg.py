"""Apple disk images (UDIF): big-endian. Chunks, property list, trailer."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from struct import pack
from typing import Any

from ..case import Blob

ZERO, RAW, COMMENT, END = 0, 1, 0x7FFFFFFE, 0xFFFFFFFF
ADC, ZLIB, BZIP2, LZFSE, LZMA = 0x80000004, 0x80000005, 0x80000006, 0x80000007, 0x80000008
KOLY = {
    "magic": (0, ">4s"),
    "version": (4, ">I"),
    "header": (8, ">I"),
    "flags": (12, ">I"),
    "fork_offset": (24, ">Q"),
    "fork_length": (32, ">Q"),
    "resource_offset": (40, ">Q"),
    "resource_length": (48, ">Q"),
    "segment": (56, ">I"),
    "segments": (60, ">I"),
    "xml_offset": (216, ">Q"),
    "xml_length": (224, ">Q"),
    "variant": (488, ">I"),
    "sectors": (492, ">Q"),
}

Chunk = tuple[int, int, int, int, int]
"""type, first sector, sectors, offset, length"""


def mish(
    chunks: Sequence[Chunk], *, count: int | None = None, first: int = 0, sectors: int = 2048, base: int = 0
) -> bytes:
    """A block table."""
    head = pack(">4sIQQQ", b"mish", 1, first, sectors, base).ljust(200, b"\0")
    body = b"".join(pack(">IIQQQQ", kind, 0, *rest) for kind, *rest in chunks)
    return head + pack(">I", len(chunks) if count is None else count) + body


def plist(tables: Sequence[bytes], name: bytes = b"whole disk", head: bytes = b"") -> bytes:
    """The property list with these block tables."""
    entries = b"".join(
        b"<dict><key>Name</key><string>"
        + name
        + b"</string><key>Data</key><data>"
        + base64.b64encode(table)
        + b"</data></dict>"
        for table in tables
    )
    return (
        b'<?xml version="1.0" encoding="UTF-8"?>\n'
        + head
        + b'<plist version="1.0"><dict><key>resource-fork</key><dict>'
        b"<key>blkx</key><array>" + entries + b"</array></dict></dict></plist>\n"
    )


def koly(**fields: Any) -> bytes:
    """A trailer."""
    own: dict[str, Any] = {"magic": b"koly", "version": 4, "header": 512, "flags": 1, "variant": 1, "sectors": 2048}
    own.update(fields)
    made = bytearray(512)
    for name, value in own.items():
        offset, layout = KOLY[name]
        packed = pack(layout, value)
        made[offset : offset + len(packed)] = packed
    return bytes(made)


def image(
    chunks: Sequence[Chunk] = ((ZERO, 0, 2048, 0, 0), (END, 2048, 0, 0, 0)),
    data: bytes = b"",
    *,
    xml: bytes | None = None,
    tables: Sequence[bytes] | None = None,
    **fields: Any,
) -> Blob:
    """An image of 1 MiB: `data` first, whose chunks count their offsets from the start of the file."""
    own = plist([mish(chunks)] if tables is None else tables) if xml is None else xml
    data = data or bytes(512)
    places = {"xml_offset": len(data), "xml_length": len(own), "fork_length": len(data), **fields}
    return Blob(data + own + koly(**places))
