"""Builds UDIF images from their description alone, with the libraries of others for everything that is compressed."""

from __future__ import annotations

import bz2
import lzma
import plistlib
import struct
import zlib

SECTOR = 512
TYPES = {
    "zero": 0,
    "raw": 1,
    "ignore": 2,
    "adc": 0x80000004,
    "zlib": 0x80000005,
    "bzip2": 0x80000006,
    "lzfse": 0x80000007,
    "lzma": 0x80000008,
}
COMMENT, TERMINATOR = 0x7FFFFFFE, 0xFFFFFFFF


def adc(data):
    """Apple Data Compression: repeats of what lies up to 64 KiB back, short and long ones, and literals."""
    made, literal, at = bytearray(), bytearray(), 0

    def flush():
        for start in range(0, len(literal), 128):
            piece = literal[start : start + 128]
            made.append(0x80 | len(piece) - 1)
            made.extend(piece)
        literal.clear()

    seen = {}
    while at < len(data):
        key = data[at : at + 4]
        place = seen.get(key, -1)
        seen[key] = at
        back = at - place - 1
        if place < 0 or len(key) < 4 or back > 0xFFFF:
            literal.append(data[at])
            at += 1
            continue
        length = 4
        while length < 67 and at + length < len(data) and data[place + length] == data[at + length]:
            length += 1
        flush()
        if length <= 18 and back <= 0x3FF:
            made += bytes((length - 3 << 2 | back >> 8, back & 0xFF))
        else:
            made += bytes((0x40 | length - 4, back >> 8, back & 0xFF))
        at += length
    flush()
    return bytes(made)


def lzfse(data):
    import lzfse as library

    return library.compress(data)


ENCODERS = {
    "raw": bytes,
    "adc": adc,
    "zlib": zlib.compress,
    "bzip2": bz2.compress,
    "lzfse": lzfse,
    "lzma": lambda data: lzma.compress(data, lzma.FORMAT_XZ),
}


def checksum(data=None):
    """A checksum field: CRC-32, or none."""
    if data is None:
        return struct.pack(">II128x", 0, 0)
    return struct.pack(">III124x", 2, 32, zlib.crc32(data))


def table(first, chunks, content, *, data_offset=0, sectors=None):
    """A block table: chunks are (type number, first sector in the table, sectors, offset, length)."""
    count = sum(chunk[2] for chunk in chunks) % (1 << 64) if sectors is None else sectors
    made = struct.pack(">4sIQQQII24x", b"mish", 1, first, count, data_offset, 520, 0)
    made += checksum(content) + struct.pack(">I", len(chunks))
    rows = [struct.pack(">II4Q", chunk[0], 0x2B626567 if chunk[0] == COMMENT else 0, *chunk[1:]) for chunk in chunks]
    return made + b"".join(rows)


def resource_fork(tables):
    """A resource fork with these `blkx` resources: (name, content)."""
    data, references, names = b"", b"", b""
    for number, (name, content) in enumerate(tables):
        references += struct.pack(">hHII", number, len(names), 0x50 << 24 | len(data), 0)
        data += struct.pack(">I", len(content)) + content
        names += bytes((len(name),)) + name.encode("mac_roman")
    types = (
        struct.pack(">H", 1) + struct.pack(">4sHH", b"plst", 0, 18) + struct.pack(">4sHH", b"blkx", len(tables) - 1, 18)
    )
    types += references
    length = 28 + len(types) + len(names)
    header = struct.pack(">IIII", 256, 256 + len(data), len(data), length)
    index = header + bytes(8) + struct.pack(">HH", 28, 28 + len(types)) + types + names
    return header.ljust(256, b"\0") + data + index


class Image:
    """An image in the making: partitions one after another, each a list of (type name, content)."""

    def __init__(self, *, before=b"", data_offset=0):
        self.before = before
        self.fork = bytearray(data_offset)
        self.data_offset = data_offset
        self.tables = []
        self.content = b""

    def partition(self, name, *pieces, comments=True):
        first = len(self.content) // SECTOR
        chunks, at, whole, counted = [], 0, b"", b""
        for kind, data in pieces:
            assert len(data) % SECTOR == 0
            if comments and not at:
                chunks.append((COMMENT, 0, 0, 0, 0))
            stored = b"" if kind in ("zero", "ignore") else ENCODERS[kind](data)
            offset = len(self.fork) - self.data_offset
            chunks.append((TYPES[kind], at, len(data) // SECTOR, offset, len(stored)))
            self.fork += stored
            whole += bytes(len(data)) if kind in ("zero", "ignore") else data
            # What may be ignored is no part of the checksum.
            counted += b"" if kind == "ignore" else whole[-len(data) :]
            at += len(data) // SECTOR
        chunks.append((TERMINATOR, at, 0, len(self.fork) - self.data_offset, 0))
        self.content += whole
        self.tables.append((name, table(first, chunks, counted, data_offset=self.data_offset, sectors=at)))
        return self

    def build(self, *, rsrc=False, plist=None, sectors=None, padding=b"", **fields):
        """The bytes of the file. `fields` override those of the trailer by name."""
        fork = bytes(self.fork)
        start = len(self.before)
        sums = b"".join(data[72:76] for _, data in self.tables)
        if plist is None:
            entries = [
                {"Attributes": "0x0050", "CFName": name, "Data": data, "ID": str(number), "Name": name}
                for number, (name, data) in enumerate(self.tables)
            ]
            plst = [{"Attributes": "0x0050", "Data": bytes(100), "ID": "0", "Name": ""}]
            plist = plistlib.dumps({"resource-fork": {"blkx": entries, "plst": plst}})
        tail = resource_fork(self.tables) if rsrc else plist
        place = start + len(fork)
        wanted = {
            "version": 4,
            "header_size": 512,
            "flags": 1,
            "running": 0,
            "data_offset": start,
            "data_length": len(fork),
            "rsrc_offset": place if rsrc else 0,
            "rsrc_length": len(tail) if rsrc else 0,
            "segment": 1,
            "segments": 1,
            "data_checksum": checksum(fork),
            "xml_offset": 0 if rsrc else place,
            "xml_length": 0 if rsrc else len(tail),
            "master_checksum": checksum(sums),
            "variant": 1,
            "sectors": len(self.content) // SECTOR if sectors is None else sectors,
        }
        wanted.update(fields)
        numbers = list(wanted.values())
        trailer = struct.pack(">4sIIIQQQQQII16s", b"koly", *numbers[:10], b"0123456789abcdef")
        trailer += wanted["data_checksum"] + struct.pack(">QQ120x", *numbers[11:13]) + wanted["master_checksum"]
        trailer += struct.pack(">IQ12x", *numbers[14:16])
        assert len(trailer) == 512
        return self.before + fork + tail + trailer + padding
