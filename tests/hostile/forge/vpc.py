"""VHD files: big-endian, every structure with its checksum. Footer, header at 512, table at 1536, then blocks."""

from __future__ import annotations

from collections.abc import Sequence
from struct import pack
from typing import Any

from ..case import Blob

FIXED, DYNAMIC, DIFFERENCING = 2, 3, 4
FOOTER = {
    "cookie": (0, ">8s"),
    "features": (8, ">I"),
    "version": (12, ">I"),
    "header_offset": (16, ">Q"),
    "time": (24, ">I"),
    "creator": (28, ">4s"),
    "host": (36, ">4s"),
    "original": (40, ">Q"),
    "current": (48, ">Q"),
    "geometry": (56, ">I"),
    "type": (60, ">I"),
    "identity": (68, ">16s"),
}
HEADER = {
    "header_cookie": (0, ">8s"),
    "next": (8, ">Q"),
    "table_offset": (16, ">Q"),
    "header_version": (24, ">I"),
    "entries": (28, ">I"),
    "block": (32, ">I"),
    "parent_identity": (40, ">16s"),
}


def sealed(data: bytes, place: int) -> bytes:
    """The bytes with the ones' complement of their sum at `place`."""
    data = data[:place] + bytes(4) + data[place + 4 :]
    return data[:place] + pack(">I", sum(data) ^ 0xFFFFFFFF) + data[place + 4 :]


def _made(layouts: dict[str, tuple[int, str]], values: dict[str, Any], size: int) -> bytearray:
    made = bytearray(size)
    for name, value in values.items():
        if name in layouts:
            offset, layout = layouts[name]
            packed = pack(layout, value)
            made[offset : offset + len(packed)] = packed
    return made


def footer(**fields: Any) -> bytes:
    """A footer with its checksum; of a dynamic disk of 4 MiB unless `fields` say otherwise."""
    own: dict[str, Any] = {
        "cookie": b"conectix",
        "features": 2,
        "version": 0x10000,
        "header_offset": 512,
        "creator": b"win ",
        "host": b"Wi2k",
        "original": 4 << 20,
        "current": 4 << 20,
        "geometry": 0xFFFF10FF,
        "type": DYNAMIC,
        "identity": bytes(range(16)),
    }
    own.update(fields)
    return sealed(bytes(_made(FOOTER, own, 512)), 64)


def header(locators: Sequence[tuple[bytes, int, int]] = (), name: str = "", **fields: Any) -> bytes:
    """A dynamic disk header; `locators` are (platform code, offset, length)."""
    own: dict[str, Any] = {
        "header_cookie": b"cxsparse",
        "next": (1 << 64) - 1,
        "table_offset": 1536,
        "header_version": 0x10000,
        "entries": 2,
        "block": 2 << 20,
    }
    own.update(fields)
    made = _made(HEADER, own, 1024)
    text = name.encode("utf-16-be")
    made[64 : 64 + len(text)] = text
    for number, (code, offset, length) in enumerate(locators):
        at = 576 + 24 * number
        made[at : at + 24] = code + pack(">IIIQ", 512, length, 0, offset)
    return sealed(bytes(made), 36)


def dynamic(
    *,
    table: Sequence[int] = (0xFFFFFFFF, 0xFFFFFFFF),
    names: Sequence[tuple[bytes, bytes]] = (),
    name: str = "",
    more: Sequence[tuple[int, bytes]] = (),
    size: int = 16384,
    **fields: Any,
) -> Blob:
    """A dynamic or differencing disk of two blocks. `names` are (platform code, stored bytes) of parent locators."""
    blob = Blob(size=size)
    locators, at = [], 4096
    for code, data in names:
        locators.append((code, at, len(data)))
        blob.put(at, data)
        at += -(-len(data) // 512) * 512 or 512
    foot = footer(**fields)
    blob.put(0, foot).put(512, header(locators, name, **fields)).put(1536, pack(f">{len(table)}I", *table))
    for offset, data in more:
        blob.put(offset, data)
    return blob.put(max(blob.size, at), foot)


def fixed(content: bytes, **fields: Any) -> Blob:
    """A fixed disk: content, then the footer."""
    own = {"type": FIXED, "header_offset": (1 << 64) - 1, "current": len(content), "original": len(content), **fields}
    return Blob(content + footer(**own))
