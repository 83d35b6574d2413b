"""VHD files written down from Microsoft's specification, apart from the plugin."""

from __future__ import annotations

import struct

SECTOR = 512
IDENTITY = bytes(range(16))


def seal(data, place):
    """The bytes with the ones' complement of their sum at `place`."""
    data = data[:place] + bytes(4) + data[place + 4 :]
    total = 0
    for each in data:
        total += each
    return data[:place] + struct.pack(">I", total ^ 0xFFFFFFFF) + data[place + 4 :]


def footer(size, kind, **fields):
    """A footer; `fields` replace its own, by their names in the specification."""
    own = {
        "features": 2,
        "version": 0x10000,
        "data_offset": (1 << 64) - 1 if kind == 2 else 512,
        "time": 0x2F000000,
        "creator": b"win ",
        "creator_version": 0x60001,
        "host": b"Wi2k",
        "original": size,
        "current": size,
        "geometry": (65535, 16, 255),
        "kind": kind,
        "identity": IDENTITY,
        "saved": 0,
    }
    own.update(fields)
    data = b"conectix" + struct.pack(">IIQ", own["features"], own["version"], own["data_offset"])
    data += struct.pack(">I", own["time"]) + own["creator"] + struct.pack(">I", own["creator_version"]) + own["host"]
    data += struct.pack(">QQ", own["original"], own["current"]) + struct.pack(">HBB", *own["geometry"])
    data += struct.pack(">II", own["kind"], 0) + own["identity"] + bytes([own["saved"]])
    return seal(data.ljust(512, b"\0"), 64)


def header(entries, block, table=1536, **fields):
    """A dynamic disk header. `locators` are (code, offset, length); `name` is the parent's in the header."""
    own = {"parent": bytes(16), "parent_time": 0, "name": "", "locators": (), "version": 0x10000}
    own.update(fields)
    data = b"cxsparse" + b"\xff" * 8 + struct.pack(">QIIII", table, own["version"], entries, block, 0)
    data += own["parent"] + struct.pack(">II", own["parent_time"], 0)
    data += own["name"].encode("utf-16-be").ljust(512, b"\0")
    for code, offset, length in own["locators"]:
        data += code + struct.pack(">IIIQ", -(-length // 512) * 512, length, 0, offset)
    return seal(data.ljust(1024, b"\0"), 36)


def bitmap_length(block):
    return -(-(block // SECTOR) // (8 * SECTOR)) * SECTOR


def fixed(content, *, old=False, **fields):
    """A fixed disk; `old` has the footer of 511 bytes."""
    data = footer(len(content), 2, **fields)
    return content + (data[:511] if old else data)


def dynamic(size, blocks, *, block=1 << 21, kind=3, names=(), tail=True, header_fields=None, entries=None, **fields):
    """A dynamic or differencing disk.

    `blocks` maps a block's number to (content, sectors that are there, or None for all); they lie in the order of the
    mapping. `names` are (platform code, stored bytes) of parent locators.
    """
    count = entries or -(-size // block)
    at = 1536 + -(-count * 4 // SECTOR) * SECTOR
    locators, stored = [], b""
    for code, text in names:
        locators.append((code, at + len(stored), len(text)))
        stored += text.ljust(-(-len(text) // SECTOR) * SECTOR, b"\0")
    at += len(stored)
    table = [0xFFFFFFFF] * count
    body = b""
    for number, (content, present) in blocks.items():
        table[number] = (at + len(body)) // SECTOR
        bits = bytearray(bitmap_length(block))
        for sector in range(block // SECTOR) if present is None else present:
            bits[sector // 8] |= 0x80 >> sector % 8
        body += bytes(bits) + content.ljust(block, b"\0")
    last = footer(size, kind, **fields)
    data = last + header(count, block, locators=locators, **(header_fields or {}))
    data += struct.pack(f">{count}I", *table).ljust(-(-count * 4 // SECTOR) * SECTOR, b"\xff")
    return data + stored + body + (last if tail else b"")


def resealed(data, at, new, *, header_at=512):
    """A dynamic image in which the bytes at `at` are others, with checksums that fit."""
    made = bytearray(data)
    made[at : at + len(new)] = new
    if at < 512:
        made[:512] = seal(bytes(made[:512]), 64)
        made[-512:] = made[:512]
    elif header_at <= at < header_at + 1024:
        made[header_at : header_at + 1024] = seal(bytes(made[header_at : header_at + 1024]), 36)
    return bytes(made)
