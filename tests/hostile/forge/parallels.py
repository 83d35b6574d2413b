"""Parallels images: little-endian. Header and BAT in the first sectors, clusters of 64 KiB from 64 KiB on."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from struct import pack
from typing import Any

from ..case import Blob

OLD, EXT = b"WithoutFreeSpace", b"WithouFreSpacExt"
MAGIC, BITMAP = 0xAB234CEF23DCEA87, 0x20385FAE252CB34A
FIELDS = {
    "magic": (0, "<16s"),
    "version": (16, "<I"),
    "heads": (20, "<I"),
    "cylinders": (24, "<I"),
    "tracks": (28, "<I"),
    "entries": (32, "<I"),
    "sectors": (36, "<Q"),
    "in_use": (44, "<I"),
    "data": (48, "<I"),
    "flags": (52, "<I"),
    "ext": (56, "<Q"),
}


def image(
    *, bat: Sequence[int] = (0,) * 16, more: Sequence[tuple[int, bytes]] = (), file: int = 65536, **fields: Any
) -> Blob:
    """An image of 1 MiB. `fields` replace those of the header."""
    own: dict[str, Any] = {
        "magic": EXT,
        "version": 2,
        "heads": 16,
        "cylinders": 1,
        "tracks": 128,
        "entries": len(bat),
        "sectors": 2048,
        "data": 128,
    }
    own.update(fields)
    blob = Blob(size=file).put(0, bytes(64))
    for name, value in own.items():
        offset, layout = FIELDS[name]
        blob.put(offset, pack(layout, value))
    blob.put(64, pack(f"<{len(bat)}I", *bat))
    for offset, data in more:
        blob.put(offset, data)
    return blob


def extension(features: bytes, cluster: int = 65536) -> bytes:
    """A Format Extension cluster with its checksum."""
    body = features.ljust(cluster - 24, b"\0")
    return pack("<Q", MAGIC) + hashlib.md5(body, usedforsecurity=False).digest() + body


def feature(magic: int, data: bytes, *, flags: int = 0, size: int | None = None) -> bytes:
    """A feature of it."""
    return pack("<QQII", magic, flags, len(data) if size is None else size, 0) + data + bytes(-len(data) % 8)


def bitmap(*, sectors: int = 2048, granularity: int = 128, entries: int = 1, table: Sequence[int] = (0,)) -> bytes:
    """The data of a dirty bitmap's feature."""
    return pack("<Q16sII", sectors, bytes(range(16)), granularity, entries) + pack(f"<{len(table)}Q", *table)
