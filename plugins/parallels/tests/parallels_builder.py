"""Parallels images built from QEMU's description of the format, by other code than the plugin's."""

from __future__ import annotations

import hashlib
import struct

OLD, EXT = b"WithoutFreeSpace", b"WithouFreSpacExt"
IN_USE, CLOSED = 0x746F6E59, 0x312E3276
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
HOSTILE = tuple((offset, struct.calcsize(layout)) for offset, layout in FIELDS.values() if offset)


def build(bat, *, magic=EXT, tracks=128, sectors=None, data=None, stored=None, tail=0, raw=(), **fields):
    """An image whose entry n leads to cluster bat[n] of the data area (None: nowhere), filled with its number + 1.

    `data` is the header's data_off; `raw` are (entry, value) pairs that replace entries as they are stored; `tail`
    are bytes after the last cluster.
    """
    cluster = tracks * 512
    if data is None:
        data = -(-(64 + 4 * len(bat)) // cluster) * tracks
    start = data * 512 or -(-(64 + 4 * len(bat)) // 512) * 512
    unit = 512 if magic == OLD else cluster
    table = [0 if index is None else (start + index * cluster) // unit for index in bat]
    for entry, value in raw:
        table[entry] = value
    stored = max((index for index in bat if index is not None), default=-1) + 1 if stored is None else stored
    values = {
        "magic": magic,
        "version": 2,
        "heads": 16,
        "tracks": tracks,
        "entries": len(bat),
        "sectors": len(bat) * tracks if sectors is None else sectors,
        "data": data,
        **fields,
    }
    head = bytearray(start)
    for name, value in values.items():
        offset, layout = FIELDS[name]
        struct.pack_into(layout, head, offset, value)
    struct.pack_into(f"<{len(bat)}I", head, 64, *table)
    body = b"".join(bytes([1 + number % 255]) * cluster for number in range(stored))
    return bytes(head) + body + b"\xee" * tail


def changed(data, name, value):
    """The image with one field changed."""
    offset, layout = FIELDS[name]
    return data[:offset] + struct.pack(layout, value) + data[offset + struct.calcsize(layout) :]


def feature(magic, data, *, flags=0, size=None):
    """One feature of a Format Extension."""
    head = struct.pack("<QQII", magic, flags, len(data) if size is None else size, 0)
    return head + data + bytes(-len(data) % 8)


END = feature(0, b"")


def bitmap(sectors, granularity, table, *, name=b"\x12\x34\x56\x78\x9a\xbc\xde\xf0" * 2, entries=None):
    """A dirty bitmap as a feature."""
    head = struct.pack("<Q16sII", sectors, name, granularity, len(table) if entries is None else entries)
    return feature(BITMAP, head + struct.pack(f"<{len(table)}Q", *table))


def extended(data, *features, magic=MAGIC, digest=None, before=0):
    """The image with a Format Extension behind it, after `before` further clusters."""
    cluster = struct.unpack_from("<I", data, 28)[0] * 512
    body = b"".join(features).ljust(cluster - 24, b"\0")
    assert len(body) == cluster - 24
    at = len(data) + before * cluster
    digest = hashlib.md5(body).digest() if digest is None else digest
    made = changed(changed(data, "ext", at // 512), "in_use", CLOSED)
    return made.ljust(at, b"\xff") + struct.pack("<Q", magic) + digest + body
