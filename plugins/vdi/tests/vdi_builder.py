"""VDI images built from the public description of the format, by other code than the plugin's."""

from __future__ import annotations

import struct

MIB = 1 << 20
FREE, DISCARDED = 0xFFFFFFFF, 0xFFFFFFFE
FIELDS = {
    "signature": (0x40, "<I"),
    "version": (0x44, "<I"),
    "header_size": (0x48, "<I"),
    "type": (0x4C, "<I"),
    "flags": (0x50, "<I"),
    "bmap": (0x154, "<I"),
    "data": (0x158, "<I"),
    "sector": (0x168, "<I"),
    "size": (0x170, "<Q"),
    "block": (0x178, "<I"),
    "extra": (0x17C, "<I"),
    "blocks": (0x180, "<I"),
    "allocated": (0x184, "<I"),
    "uuid": (0x188, "<16s"),
    "snapshot": (0x198, "<16s"),
    "link": (0x1A8, "<16s"),
    "parent": (0x1B8, "<16s"),
}
HOSTILE = tuple((offset, struct.calcsize(layout)) for offset, layout in FIELDS.values() if layout != "<16s")


def build(blocks, *, size=None, block=MIB, extra=0, bmap=512, data=None, stored=None, **fields):
    """An image whose block map is `blocks` (None: free), with as many stored blocks as it names, or `stored`.

    Stored block n is filled with the byte n + 1. `fields` replace those of the header.
    """
    entries = [FREE if index is None else index for index in blocks]
    held = [index for index in entries if index < DISCARDED]
    stored = max(held, default=-1) + 1 if stored is None else stored
    data = bmap + -(-4 * len(entries) // 512) * 512 if data is None else data
    values = {
        "signature": 0xBEDA107F,
        "version": 0x10001,
        "header_size": 0x190,
        "type": 1,
        "bmap": bmap,
        "data": data,
        "sector": 512,
        "size": len(entries) * block if size is None else size,
        "block": block,
        "extra": extra,
        "blocks": len(entries),
        "allocated": len(held),
        "uuid": b"0123456789abcdef",
        "snapshot": b"fedcba9876543210",
        **fields,
    }
    head = bytearray(data)
    head[:39] = b"<<< Oracle VM VirtualBox Disk Image >>>"
    for name, value in values.items():
        offset, layout = FIELDS[name]
        struct.pack_into(layout, head, offset, value)
    head[bmap : bmap + 4 * len(entries)] = struct.pack(f"<{len(entries)}I", *entries)
    body = b"".join(b"\xee" * extra + bytes([1 + n % 255]) * block for n in range(stored))
    return bytes(head) + body


def changed(data, name, value):
    """The image with one field changed."""
    offset, layout = FIELDS[name]
    return data[:offset] + struct.pack(layout, value) + data[offset + struct.calcsize(layout) :]
