"""Growing disks of Bochs, made by its documentation alone, valid or not."""

from __future__ import annotations

import struct

UNALLOCATED = 0xFFFFFFFF
V1, V2 = 0x10000, 0x20000


def header(catalog, extent, disk, *, version=V2, size=512, bitmap=512, names=None):
    """The header; `names` are magic, type and subtype."""
    names = names or (b"Bochs Virtual HD Image", b"Redolog", b"Growing")
    head = struct.pack("<32s16s16sIIIII", *names, version, size, catalog, bitmap, extent)
    return head + (struct.pack("<Q", disk) if version == V1 else struct.pack("<IQ", 0, disk))


def build(disk, sectors, *, extent=4096, bitmap=512, order=None, spare=0, version=V2, size=512, body=b"", catalog=None):
    """A growing disk of `disk` bytes that has these sectors (numbers), each telling its own.

    Extents are given out in the order of `order` (else ascending). `catalog` replaces entries, `spare` adds some.
    """
    per = extent // 512
    touched = sorted({sector // per for sector in sectors})
    order = order or touched
    entries = [UNALLOCATED] * (-(-disk // extent) + spare)
    parts = []
    for place, index in enumerate(order):
        entries[index] = place
        have = [sector - index * per for sector in sectors if sector // per == index]
        bits = sum(1 << sector for sector in have).to_bytes(max(bitmap, per // 8 + 1), "little")[:bitmap]
        parts.append(bits.ljust(-(-bitmap // 512) * 512, b"\0"))
        parts.append(b"".join(content(index * per + at) if at in have else b"\xee" * 512 for at in range(per)))
    for index, entry in (catalog or {}).items():
        entries[index] = entry
    head = header(len(entries), extent, disk, version=version, size=size, bitmap=bitmap).ljust(size, b"\0")
    return head + struct.pack(f"<{len(entries)}I", *entries) + b"".join(parts) + body


def content(sector):
    """What a sector holds."""
    return (b"sector %8d\n" % sector * 33)[:512]


def disk(size, sectors):
    """The disk that the image reads as."""
    made = bytearray(-(-size // 512) * 512)
    for sector in sectors:
        made[sector * 512 : sector * 512 + 512] = content(sector)
    return bytes(made[: size // 512 * 512])


def changed(data, offset, value, layout="<I"):
    """The image with one field replaced."""
    return data[:offset] + struct.pack(layout, value) + data[offset + struct.calcsize(layout) :]
