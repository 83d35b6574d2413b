"""A page: what an image says of itself, read and written."""

from array import array
from struct import error as struct_error
from sys import byteorder
from zlib import crc32

from instar_core.errors import ErrorKind, FormatError
from instar_core.types import Barrier, Put
from instar_ledger import layout as L


class Page:
    """The state of a disk. Tables are arrays, snapshots [number, time, name, table], bitmaps [granularity, flags, name,
    bits]."""

    def __init__(self, size=0):
        self.size = size
        self.label = b""
        self.backing = None
        self.keys = None
        self.table = array("Q", bytes(8 * (size // L.BLOCK)))
        self.snapshots = []
        self.bitmaps = []
        self.place = self.length = 0

    @property
    def tables(self):
        return [self.table, *(snapshot[3] for snapshot in self.snapshots)]

    def encode(self):
        """The page as it is stored."""
        chunks = [(L.SIZE, self.size.to_bytes(8, "big")), (L.LABEL, self.label)]
        if self.backing:
            chunks.append((L.BACKING, b"\0".join(self.backing)))
        if self.keys:
            chunks.append((L.KEYS, L.KEYS_BODY.pack(*self.keys)))
        chunks.append((L.TABLE, swapped(self.table)))
        for number, time, name, table in self.snapshots:
            chunks.append((L.SNAPSHOT, L.SNAPSHOT_HEAD.pack(number, time, len(name)) + name + swapped(table)))
        for granularity, flags, name, bits in self.bitmaps:
            chunks.append((L.BITMAP, L.BITMAP_HEAD.pack(granularity, flags, len(name)) + name + bytes(bits)))
        return b"".join(L.CHUNK.pack(tag, len(body)) + body for tag, body in chunks)


def swapped(table):
    if byteorder == "little":
        table = array("Q", table)
        table.byteswap()
    return table.tobytes()


def entries(body, size):
    if len(body) != size // L.BLOCK * 8:
        raise corrupt("a table has not one entry for each block")
    table = array("Q", body)
    if byteorder == "little":
        table.byteswap()
    return table


def corrupt(text):
    return FormatError(f"ledger: {text}", kind=ErrorKind.CORRUPT)


def read(image):
    """The current page. Raises FormatError."""
    magic, place, length, check = image.main.unpack(L.HEAD, 0)
    if magic != L.MAGIC:
        raise FormatError("not the head of a ledger disk", offset=0)
    if length > L.PAGE or place < L.BLOCK or place % L.BLOCK:
        raise FormatError(f"ledger: no page of {length} bytes can lie at {place}", offset=8)
    data = image.main.read(place, length)
    if crc32(data) != check:
        raise corrupt(f"the page at {place} is damaged")
    page = Page()
    page.place, page.length = place, length
    try:
        for tag, body in chunks(data):
            take(page, tag, body)
    except struct_error as error:
        raise corrupt("a chunk is too short") from error
    if len(page.table) * L.BLOCK != page.size:
        raise corrupt("there is no table")
    return page


def chunks(data):
    at = 0
    while at < len(data):
        tag, length = L.CHUNK.unpack_from(data, at)
        at += L.CHUNK.size
        if at + length > len(data):
            raise corrupt("a chunk goes on past its page")
        yield tag, data[at : at + length]
        at += length


def take(page, tag, body):
    """The chunk is part of the page."""
    if tag == L.SIZE:
        page.size = int.from_bytes(body, "big")
        if page.size % L.BLOCK or page.size > L.BLOCKS * L.BLOCK:
            raise corrupt(f"a disk cannot have {page.size} bytes")
    elif tag == L.LABEL:
        page.label = body[: L.NAME]
    elif tag == L.BACKING:
        name, _, format = body.partition(b"\0")
        page.backing = (name, format)
    elif tag == L.KEYS:
        page.keys = L.KEYS_BODY.unpack(body)
    elif tag == L.TABLE:
        page.table = entries(body, page.size)
    elif tag == L.SNAPSHOT and len(page.snapshots) < L.MANY:
        number, time, length = L.SNAPSHOT_HEAD.unpack_from(body)
        rest = body[L.SNAPSHOT_HEAD.size :]
        page.snapshots.append([number, time, rest[:length], entries(rest[length:], page.size)])
    elif tag == L.BITMAP and len(page.bitmaps) < L.MANY:
        granularity, flags, length = L.BITMAP_HEAD.unpack_from(body)
        rest = body[L.BITMAP_HEAD.size :]
        if granularity < L.SECTOR or len(rest) - length != words(page.size, granularity):
            raise corrupt("a bitmap has not one bit for each piece")
        page.bitmaps.append([granularity, flags, rest[:length], bytearray(rest[length:])])
    else:
        raise corrupt(f"there cannot be a chunk {tag!r}")


def words(size, granularity):
    """Bytes of a bitmap, in whole words."""
    bits = -(-size // granularity)
    return -(-bits // 64) * 8


def puts(data, place):
    """The edits that write the page, and those that make it the current one; with a barrier between."""
    for at in range(0, len(data), 1 << 20):
        yield Put(place + at, data[at : at + (1 << 20)])
    yield Barrier()
    yield Put(0, L.HEAD.pack(L.MAGIC, place, len(data), crc32(data)))
    yield Barrier()


def key_plan_fields(keys):
    """What the chunk KEYS says, by name."""
    place, iterations, salt, check_iterations, check_salt, digest, stripes = keys
    if stripes != L.STRIPES:
        raise corrupt("the key material is split in another way")
    check = {"hash": L.HASH, "salt": check_salt, "iterations": check_iterations, "digest": digest}
    return place, iterations, salt, check
