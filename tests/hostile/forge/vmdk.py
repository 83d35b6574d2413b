"""VMDK: text descriptors, hosted sparse extents, stream-optimised ones, and those of ESX. Little-endian, in sectors."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from struct import pack
from typing import Any

from ..case import Blob

SECTOR = 512
AT_END = (1 << 64) - 1
COMPRESSED, MARKERS = 1 << 16, 1 << 17
FIELDS = {
    "magic": (0, "<4s"),
    "version": (4, "<I"),
    "flags": (8, "<I"),
    "capacity": (12, "<Q"),
    "grain": (20, "<Q"),
    "descriptor_offset": (28, "<Q"),
    "descriptor_size": (36, "<Q"),
    "entries": (44, "<I"),
    "rgd_offset": (48, "<Q"),
    "gd_offset": (56, "<Q"),
    "overhead": (64, "<Q"),
    "unclean": (72, "<B"),
    "newlines": (73, "<4s"),
    "compress": (77, "<H"),
}
COWD = {
    "magic": (0, "<4s"),
    "version": (4, "<I"),
    "flags": (8, "<I"),
    "capacity": (12, "<I"),
    "grain": (16, "<I"),
    "gd_offset": (20, "<I"),
    "directory": (24, "<I"),
    "free": (28, "<I"),
}
SESPARSE = (
    "magic",
    "version",
    "capacity",
    "grain",
    "table",
    "flags",
    "r1",
    "r2",
    "r3",
    "r4",
    "volatile",
    "volatile_size",
    "journal_header",
    "journal_header_size",
    "journal",
    "journal_size",
    "gd_offset",
    "gd_size",
    "tables_offset",
    "tables_size",
    "bitmap",
    "bitmap_size",
    "backmap",
    "backmap_size",
    "grains",
    "grains_size",
)


def text(*lines: str | bytes, kind: str = "monolithicFlat", parent: bytes = b"", parent_cid: str = "ffffffff") -> bytes:
    """A descriptor; `lines` are its extents, and whatever else is wanted."""
    made = [b"# Disk DescriptorFile", b"version=1", b"CID=fffffffe", b"parentCID=" + parent_cid.encode()]
    made.append(b'createType="' + kind.encode() + b'"')
    if parent:
        made.append(b'parentFileNameHint="' + parent + b'"')
    made += [line.encode() if isinstance(line, str) else line for line in lines]
    return b"\n".join(made) + b'\nddb.adapterType = "ide"\n'


def sparse(
    *,
    gd: Sequence[int] = (28,),
    gt: Sequence[int] = (),
    more: Sequence[tuple[int, bytes]] = (),
    sectors: int = 256,
    descriptor: bytes | None = None,
    **fields: Any,
) -> Blob:
    """A monolithic sparse file of 1 MiB: directory at sector 27, table at 28, grains of 128 sectors from 128 on."""
    own: dict[str, Any] = {
        "magic": b"KDMV",
        "version": 1,
        "flags": 1,
        "capacity": 2048,
        "grain": 128,
        "descriptor_offset": 1,
        "descriptor_size": 20,
        "entries": 512,
        "gd_offset": 27,
        "overhead": 128,
        "newlines": b"\n \r\n",
    }
    changed = {key: value for key, value in fields.items() if key in FIELDS}
    own.update(changed)
    blob = Blob(size=sectors * SECTOR).put(0, bytes(SECTOR))
    for name, value in own.items():
        offset, layout = FIELDS[name]
        blob.put(offset, pack(layout, value))
    if descriptor is None:
        descriptor = text('RW 2048 SPARSE "x"', kind="monolithicSparse")
    blob.put(SECTOR, descriptor[: 20 * SECTOR])
    blob.put(27 * SECTOR, pack(f"<{len(gd)}I", *gd)).put(28 * SECTOR, pack(f"<{len(gt)}I", *gt))
    for offset, data in more:
        blob.put(offset, data)
    return blob.cut(sectors * SECTOR)


def stream(stored: bytes, *, sector: int = 0, length: int | None = None, **fields: Any) -> Blob:
    """A stream-optimised file with one compressed grain, whose marker says `length`."""
    marker = pack("<QI", sector, len(stored) if length is None else length)
    place = 128 * SECTOR
    sectors = 128 + (len(marker + stored) + SECTOR - 1) // SECTOR
    own = {"version": 3, "flags": 3 | COMPRESSED | MARKERS, "compress": 1, **fields}
    return sparse(gt=(128,), more=((place, marker + stored),), sectors=sectors, **own)


def deflated(data: bytes) -> bytes:
    """The bytes as grains are compressed: a zlib stream."""
    return zlib.compress(data, 9)


def cowd(*, gd: Sequence[int] = (5,), gt: Sequence[int] = (), sectors: int = 128, **fields: Any) -> Blob:
    """An ESX sparse extent of 1 MiB: grains of one sector, directory at sector 4, table at 5."""
    own: dict[str, Any] = {
        "magic": b"COWD",
        "version": 1,
        "flags": 3,
        "capacity": 2048,
        "grain": 1,
        "gd_offset": 4,
        "directory": 1,
        "free": 64,
    }
    own.update(fields)
    blob = Blob(size=sectors * SECTOR).put(0, bytes(2048))
    for name, value in own.items():
        offset, layout = COWD[name]
        blob.put(offset, pack(layout, value))
    return (
        blob.put(4 * SECTOR, pack(f"<{len(gd)}I", *gd)).put(5 * SECTOR, pack(f"<{len(gt)}I", *gt)).cut(sectors * SECTOR)
    )


def sesparse(*, gd: Sequence[int] = (), gt: Sequence[int] = (), sectors: int = 256, **fields: int) -> Blob:
    """A space-efficient sparse extent of 2 MiB: grains of 8 sectors, tables of 64 sectors."""
    own = dict.fromkeys(SESPARSE, 0)
    own.update(
        magic=0xCAFEBABE,
        version=0x200000001,
        capacity=4096,
        grain=8,
        table=64,
        volatile=1,
        volatile_size=1,
        journal_header=2,
        journal_header_size=2,
        journal=4,
        journal_size=4,
        gd_offset=8,
        gd_size=8,
        tables_offset=16,
        tables_size=64,
        bitmap=80,
        bitmap_size=8,
        backmap=88,
        backmap_size=8,
        grains=96,
        grains_size=160,
    )
    own.update(fields)
    blob = Blob(size=sectors * SECTOR).put(0, pack("<26Q", *(own[name] for name in SESPARSE)))
    blob.put(SECTOR, pack("<4Q", 0xCAFECAFE, 0, 0, 0))
    return blob.put(8 * SECTOR, pack(f"<{len(gd)}Q", *gd)).put(16 * SECTOR, pack(f"<{len(gt)}Q", *gt))
