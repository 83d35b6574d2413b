"""ISO 9660 volumes: descriptors at 32768, numbers in both byte orders."""

from __future__ import annotations

from struct import pack
from typing import Any

from ..case import Blob

SECTOR = 2048
FIELDS = {
    "system": (8, "32s"),
    "volume": (40, "32s"),
    "space": (80, "I"),
    "set": (120, "H"),
    "number": (124, "H"),
    "block": (128, "H"),
    "path_size": (132, "I"),
    "path_l": (140, "<I"),
    "path_m": (148, ">I"),
    "root_length": (156, "B"),
    "root_extended": (157, "B"),
    "root": (158, "I"),
    "root_size": (166, "I"),
    "root_flags": (181, "B"),
    "publisher": (318, "128s"),
    "application": (574, "128s"),
}


def primary(**fields: Any) -> bytes:
    """A primary volume descriptor."""
    own: dict[str, Any] = {
        "system": b"LINUX",
        "volume": b"VOLUME",
        "space": 32,
        "set": 1,
        "number": 1,
        "block": 2048,
        "path_size": 10,
        "path_l": 19,
        "path_m": 20,
        "root_length": 34,
        "root_extended": 0,
        "root": 21,
        "root_size": 2048,
        "root_flags": 2,
        "publisher": b"",
        "application": b"",
    }
    own.update(fields)
    made = bytearray(b"\1CD001\1".ljust(SECTOR, b"\0"))
    for name, value in own.items():
        offset, layout = FIELDS[name]
        both = layout in ("I", "H")
        data = pack(f"<{layout}", value) + pack(f">{layout}", value) if both else pack(layout, value)
        made[offset : offset + len(data)] = data
    return bytes(made)


def image(descriptors: tuple[bytes, ...] | None = None, *, file: int = 65536, boot: bytes = b"", **fields: Any) -> Blob:
    """A volume: 16 empty sectors, its descriptors and their end, path tables at 19 and 20, root directory at 21."""
    own = (primary(**fields),) if descriptors is None else descriptors
    blob = Blob(size=file)
    for number, data in enumerate((*own, b"\xffCD001\1".ljust(SECTOR, b"\0"))):
        blob.put((16 + number) * SECTOR, data)
    blob.put(19 * SECTOR, pack("<BBIH", 1, 0, 21, 1)).put(20 * SECTOR, pack(">BBIH", 1, 0, 21, 1))
    record = pack("B", 34) + primary()[157:190]
    blob.put(21 * SECTOR, record)
    if boot:
        blob.put(17 * SECTOR, boot).put(18 * SECTOR, b"\xffCD001\1")
    return blob
