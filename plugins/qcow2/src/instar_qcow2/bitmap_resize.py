"""Dirty bitmaps of a disk that grows or shrinks: what it grows by is clean. Source: docs/interop/qcow2.txt of QEMU,
"Bitmaps"."""

from __future__ import annotations

from instar_core.errors import ErrorKind, FormatError
from instar_core.types import Put
from instar_qcow2 import layout, limits
from instar_qcow2.bitmaps import bitmap_pieces, directory_entries, table_entries
from instar_qcow2.shadow import put_pieces
from instar_qcow2.sizes import ceil_div

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import NamedTuple

    from instar_core.source import Source
    from instar_qcow2.bitmaps import DirectoryEntry
    from instar_qcow2.header import Header
    from instar_qcow2.hostclusters import HostClusters
else:
    from instar_core.record import NamedTuple

PIECE = 1 << 17
"""Table entries that are copied at once: 1 MiB."""


class Moved(NamedTuple):
    """A bitmap table that has another length: its old and its new place, and its entries."""

    old: int
    entries: int
    new: int
    wanted: int


class Bitmaps(NamedTuple):
    """The bitmaps as they will be. `extension` is the change of the header's, `directory` (offset, bytes) the new one.

    `last` are, for each bitmap, where bits are that are past the end: the offset of the data cluster and the first bit.
    """

    extension: Mapping[int, bytes | None]
    directory: tuple[int, bytes]
    moved: tuple[Moved, ...]
    last: tuple[tuple[int, int], ...]
    cluster_size: int

    def puts(self, source: Source) -> Iterator[Put]:
        """Directory and tables at their new places."""
        yield from put_pieces(*self.directory)
        for table in self.moved:
            length = ceil_div(8 * table.wanted, self.cluster_size) * self.cluster_size
            kept = 8 * min(table.entries, table.wanted)
            for at in range(0, length, 8 * PIECE):
                some = min(8 * PIECE, length - at)
                have = max(0, min(some, kept - at))
                yield Put(table.new + at, source.read(table.old + at, have, pad=True).ljust(some, b"\0"))

    def tails(self, source: Source) -> Iterator[Put]:
        """No bit past the end is set."""
        for offset, bit in self.last:
            data = source.read(offset, self.cluster_size, pad=True)
            at = bit // 8
            first = data[at] & (1 << bit % 8) - 1
            if first != data[at] or any(data[at + 1 :]):
                yield Put(offset + at, bytes((first,)).ljust(self.cluster_size - at, b"\0"))


def resized_bitmaps(source: Source, header: Header, clusters: HostClusters, size: int) -> Bitmaps:
    """The bitmaps of a disk of `size` bytes, places taken. Raises FormatError where one is inconsistent, and
    LIMIT where one would be too large."""
    entries = list(directory_entries(source, header))
    for entry in entries:
        if entry.flags & layout.BITMAP_IN_USE:
            raise FormatError(f"Bitmap '{entry.name}' is inconsistent and cannot be used", kind=ErrorKind.REFUSED)
    smaller = header._replace(size=size)
    last = [place for entry in entries for place in last_bits(source, header, entry, size)]
    moved = []
    for entry in entries:
        wanted = table_entries(smaller, entry.granularity_bits)
        if wanted * header.cluster_size > limits.BITMAP_BYTES or wanted > limits.BITMAP_TABLE:
            raise FormatError("File too large", kind=ErrorKind.LIMIT)
        wanted = max(1, wanted)
        if wanted == entry.table_size:
            continue
        for index, value, sound in bitmap_pieces(source, header, entry):
            if index >= wanted and sound and value & layout.BITMAP_TABLE_OFFSET_MASK:
                clusters.refer(value >> header.cluster_bits, 1, -1)
        clusters.refer_bytes(entry.table_offset, 8 * entry.table_size, -1)
        place = clusters.take(ceil_div(8 * wanted, header.cluster_size))
        moved.append(Moved(entry.table_offset, entry.table_size, place, wanted))
    extension = header.extensions.bitmaps
    if extension is None or not moved:
        return Bitmaps({}, (0, b""), (), tuple(last), header.cluster_size)
    directory = redirected(source.read(extension.offset, extension.size, pad=True), moved)
    clusters.refer_bytes(extension.offset, extension.size, -1)
    place = clusters.take(ceil_div(extension.size, header.cluster_size))
    told = layout.BITMAPS.pack(extension.number, 0, extension.size, place)
    return Bitmaps({layout.EXT_BITMAPS: told}, (place, directory), tuple(moved), tuple(last), header.cluster_size)


def redirected(directory: bytes, moved: list[Moved]) -> bytes:
    """The directory with its entries naming the new tables."""
    places = {table.old: table for table in moved}
    made = bytearray(directory)
    offset = 0
    while offset < len(made):
        where, *_, name_size, extra_size = layout.BITMAP_ENTRY.unpack_from(made, offset)
        if where in places:
            made[offset : offset + 12] = places[where].new.to_bytes(8, "big") + places[where].wanted.to_bytes(4, "big")
        offset += layout.BITMAP_ENTRY.size + extra_size + name_size + 7 & ~7
    return bytes(made)


def last_bits(source: Source, header: Header, entry: DirectoryEntry, size: int) -> Iterator[tuple[int, int]]:
    """The data cluster in which the bits past a disk of `size` bytes begin, and the first of them there."""
    bits = -(-size >> entry.granularity_bits)
    index, bit = divmod(bits, 8 * header.cluster_size)
    if not bit or index >= entry.table_size:
        return
    value = int.from_bytes(source.read(entry.table_offset + 8 * index, 8, pad=True), "big")
    offset = value & layout.BITMAP_TABLE_OFFSET_MASK
    if offset and not offset % header.cluster_size:
        yield offset, bit
