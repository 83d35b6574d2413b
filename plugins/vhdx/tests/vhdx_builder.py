"""Builds VHDX files from the words of [MS-VHDX] alone: nothing of the plugin is used here.

Only small files are built, in memory; everything that a test may want to be wrong is an argument or can be patched.
"""

from __future__ import annotations

import struct
import uuid

MIB = 1 << 20
BAT = uuid.UUID("2DC27766-F623-4200-9D64-115E9BFD4A08")
METADATA = uuid.UUID("8B7CA206-4790-4B9A-B8FE-575F050F886E")
FILE_PARAMETERS = uuid.UUID("CAA16737-FA36-4D43-B3B6-33F0AA44E76B")
DISK_SIZE = uuid.UUID("2FA54224-CD1B-4876-B211-5DBED83BF4B8")
DISK_ID = uuid.UUID("BECA12AB-B2E6-4523-93EF-C309E000C746")
LOGICAL = uuid.UUID("8141BF1D-A96F-4709-BA47-F233A8FAAB5F")
PHYSICAL = uuid.UUID("CDA348C7-445D-4471-9CC9-E9885251C556")
PARENT = uuid.UUID("A8D35F2D-B30B-454D-ABF7-D3D84834AB0C")
LOCATOR = uuid.UUID("B04AEFB7-D19E-4A81-B789-25B8E9445913")
NOT_PRESENT, UNDEFINED, ZERO, UNMAPPED, FULL, PARTIAL = 0, 1, 2, 3, 6, 7


def crc32c(data):
    """Bit by bit over a table, as the polynomial says."""
    value = 0xFFFFFFFF
    for byte in data:
        value = CRC[(value ^ byte) & 0xFF] ^ (value >> 8)
    return value ^ 0xFFFFFFFF


CRC = []
for _number in range(256):
    _value = _number
    for _ in range(8):
        _value = (_value >> 1) ^ (0x82F63B78 if _value & 1 else 0)
    CRC.append(_value)


def summed(data):
    """The structure with its checksum, four bytes at offset 4, filled in."""
    data = bytes(data)
    return data[:4] + struct.pack("<I", crc32c(data[:4] + bytes(4) + data[8:])) + data[8:]


def header(
    sequence, *, data_write, file_write=None, log=None, log_length=MIB, log_offset=MIB, version=1, log_version=0
):
    log = log.bytes_le if log else bytes(16)
    file_write = uuid.uuid4().bytes_le
    made = struct.pack("<4sIQ", b"head", 0, sequence) + file_write + data_write.bytes_le + log
    made += struct.pack("<HHIQ", log_version, version, log_length, log_offset)
    return summed(made.ljust(4096, b"\0"))


def region_table(entries):
    made = struct.pack("<4sIII", b"regi", 0, len(entries), 0)
    for guid, offset, length, required in entries:
        made += guid.bytes_le + struct.pack("<QII", offset, length, required)
    return summed(made.ljust(65536, b"\0"))


def locator(pairs, kind=LOCATOR):
    texts = [(key.encode("utf-16-le"), value.encode("utf-16-le")) for key, value in pairs]
    made = kind.bytes_le + struct.pack("<HH", 0, len(texts))
    at = 20 + 12 * len(texts)
    body = b""
    for key, value in texts:
        made += struct.pack("<IIHH", at + len(body), at + len(body) + len(key), len(key), len(value))
        body += key + value
    return made + body


def metadata(items):
    """`items` are (guid, data, flags)."""
    table = b"metadata" + struct.pack("<HH20s", 0, len(items), bytes(20))
    body = b""
    for guid, data, flags in items:
        table += guid.bytes_le + struct.pack("<IIII", 65536 + len(body), len(data), flags, 0)
        body += data
    return (table.ljust(65536, b"\0") + body).ljust(MIB, b"\0")


def entry(sequence, tail, guid, changes, *, flushed, last):
    """A log entry; `changes` are (offset, 4096 bytes) or (offset, number of zeros)."""
    descriptors, sectors = b"", b""
    for offset, what in changes:
        if isinstance(what, int):
            descriptors += b"zero" + bytes(4) + struct.pack("<QQQ", what, offset, sequence)
            continue
        assert len(what) == 4096
        descriptors += b"desc" + what[-4:] + what[:8] + struct.pack("<QQ", offset, sequence)
        sectors += b"data" + struct.pack("<I", sequence >> 32) + what[8:-4] + struct.pack("<I", sequence & 0xFFFFFFFF)
    size = -(-(64 + len(descriptors)) // 4096) * 4096 + len(sectors)
    made = b"loge" + struct.pack("<IIIQII", 0, size, tail, sequence, len(changes), 0) + guid.bytes_le
    made += struct.pack("<QQ", flushed, last) + descriptors
    return summed(made.ljust(size - len(sectors), b"\0") + sectors)


class Image:
    """A file under construction. `blocks` are (state, content or None, bitmap or None) by number; content is padded."""

    def __init__(self, size, *, block=MIB, sector=512, physical=4096, parent=None, fixed=False, data_write=None):
        self.size, self.block, self.sector, self.physical = size, block, sector, physical
        self.parent, self.fixed = parent, fixed
        self.data_write = data_write or uuid.UUID(int=0x1234567890ABCDEF << 64 | size)
        self.ratio = (1 << 23) * sector // block
        self.count = -(-size // block)
        self.blocks = {}
        self.bitmaps = {}
        self.log = {}
        self.log_guid = None
        self.sequence = 7
        self.extra_items = []
        self.extra_regions = []

    def put(self, number, state, content=b""):
        self.blocks[number] = state, content

    def partial(self, number, sectors):
        """The block is partially present: `sectors` maps sector numbers in it to their bytes."""
        per = self.block // self.sector
        content = bytearray(b"\xee" * self.block)
        chunk, at = divmod(number, self.ratio)
        bitmap = self.bitmaps.setdefault(chunk, bytearray(MIB))
        for sector, data in sectors.items():
            content[sector * self.sector : (sector + 1) * self.sector] = data.ljust(self.sector, b"\0")
            bit = at * per + sector
            bitmap[bit // 8] |= 1 << bit % 8
        self.blocks[number] = PARTIAL, bytes(content)

    def place(self, number):
        """Index in the table of the block's entry."""
        return number + number // self.ratio

    def table(self):
        """The block allocation table as it is to be; and contents by their offsets."""
        chunks = -(-self.count // self.ratio)
        entries = [0] * (
            chunks * (self.ratio + 1) if self.parent else self.count + max(0, self.count - 1) // self.ratio
        )
        contents, at = {}, 4 * MIB
        for number, (state, content) in sorted(self.blocks.items()):
            entries[self.place(number)] = state
            if state in (FULL, PARTIAL):
                entries[self.place(number)] = at | state
                contents[at] = content.ljust(self.block, b"\0")
                at += self.block
        for chunk, bitmap in self.bitmaps.items():
            entries[chunk * (self.ratio + 1) + self.ratio] = at | 6
            contents[at] = bytes(bitmap)
            at += MIB
        return struct.pack(f"<{len(entries)}Q", *entries), contents, at

    def items(self):
        flags = (1 if self.fixed else 0) | (2 if self.parent else 0)
        items = [
            (LOGICAL, struct.pack("<I", self.sector), 6),
            (DISK_ID, uuid.UUID(int=5).bytes_le, 6),
            (FILE_PARAMETERS, struct.pack("<II", self.block, flags), 4),
            (PHYSICAL, struct.pack("<I", self.physical), 6),
            (DISK_SIZE, struct.pack("<Q", self.size), 6),
        ]
        if self.parent:
            items.append((PARENT, locator(self.parent), 4))
        return items + self.extra_items

    def build(self):
        table, contents, end = self.table()
        made = bytearray(end)

        def put(offset, data):
            made[offset : offset + len(data)] = data

        put(0, b"vhdxfile" + "Builder 1.0".encode("utf-16-le"))
        put(65536, header(self.sequence, data_write=self.data_write, log=self.log_guid))
        put(131072, header(self.sequence - 1, data_write=self.data_write, log=self.log_guid))
        regions = [(METADATA, 2 * MIB, MIB, 1), (BAT, 3 * MIB, MIB, 1), *self.extra_regions]
        for offset in (196608, 262144):
            put(offset, region_table(regions))
        put(2 * MIB, metadata(self.items()))
        put(3 * MIB, table)
        for offset, data in contents.items():
            put(offset, data)
        for offset, data in self.log.items():
            put(MIB + offset, data)
        return bytes(made)


LINKAGE = uuid.UUID("aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee")
GUID = uuid.UUID("01234567-89ab-4def-8123-456789abcdef")


def child(size=5 * MIB + 512, *, name=".\\parent.vhdx", linkage=LINKAGE, **more):
    pairs = [("parent_linkage", "{" + str(linkage).upper() + "}"), ("relative_path", name)]
    return Image(size, parent=pairs, **more)


def dirty(*, entries=3, start=0, torn=False, guid=GUID):
    """An image whose last table is only in its log: each entry adds a block to the table. Returns (old, new) files."""
    image = Image(6 * MIB)
    image.put(0, FULL, b"zero" * 1000)
    for number in range(1, 1 + entries):
        image.put(number, FULL, bytes([64 + number]) * 5000)
    new = image.build()
    file = bytearray(new)
    table = bytearray(file[3 * MIB : 3 * MIB + 4096])
    good = bytes(table)
    table[8 : 8 * (1 + entries)] = bytes(8 * entries)
    file[3 * MIB : 3 * MIB + 4096] = table
    at = start
    for number in range(1, 1 + entries):
        table[8 * number : 8 * number + 8] = good[8 * number : 8 * number + 8]
        changes = [(3 * MIB, bytes(table)), (3 * MIB + 8192, 8192)]
        data = bytearray(entry(number + 40, start, guid, changes, flushed=len(file), last=len(file)))
        if torn and number == entries:
            data[5000] ^= 1
        for index in range(0, len(data), 4096):
            file[MIB + at : MIB + at + 4096] = data[index : index + 4096]
            at = (at + 4096) % MIB
    file[65536 : 65536 + 4096] = header(9, data_write=image.data_write, log=guid)
    return bytes(file), new


def samples():
    """Sound images of every kind that qemu-img does not make, as (name, bytes)."""
    wide = Image(9 * MIB, sector=4096, block=2 * MIB)
    wide.put(0, FULL, b"wide" * 4096)
    wide.put(2, UNMAPPED)
    wide.put(3, UNDEFINED)
    diff = child()
    diff.put(0, FULL, b"child" * 100)
    diff.put(2, ZERO)
    diff.partial(3, {0: b"a", 1: b"b", 7: b"c", 2047: b"d"})
    diff.partial(5, {0: b"end"})
    fixed = Image(3 * MIB, fixed=True)
    for number in range(3):
        fixed.put(number, FULL, bytes([number]) * MIB)
    return [
        ("sectors of 4096", wide.build()),
        ("differencing", diff.build()),
        ("fixed", fixed.build()),
        ("dirty log", dirty()[0]),
        ("dirty log over the ring's end", dirty(start=MIB - 8192)[0]),
    ]
