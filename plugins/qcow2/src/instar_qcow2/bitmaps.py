"""The bitmap directory. Source: docs/interop/qcow2.txt of QEMU, "Bitmaps"."""

from __future__ import annotations

from instar_core.errors import ErrorKind, FormatError
from instar_core.types import Bitmap
from instar_qcow2 import layout, limits
from instar_qcow2.extensions import text
from instar_qcow2.tablescan import equal_runs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import NamedTuple

    from instar_core.source import Source
    from instar_qcow2.header import Header
else:
    from instar_core.record import NamedTuple

RESERVED_FLAGS = 0xFFFFFFFF & ~(layout.BITMAP_IN_USE | layout.BITMAP_AUTO)
"""Flags that may not be set; that of compatible extra data goes with extra data, which qemu refuses."""
TABLE_RESERVED = 0xFF000000000001FE
ALL_ONES = 1


class DirectoryEntry(NamedTuple):
    """A bitmap: where its table lies (bytes), its entries, and what it is."""

    table_offset: int
    table_size: int
    flags: int
    granularity_bits: int
    name: str


def directory_entries(source: Source, header: Header) -> Iterator[DirectoryEntry]:
    """The bitmaps in the directory's order. Raises FormatError where it does not hold what the extension promises."""
    extension = header.extensions.bitmaps
    if extension is None:
        return
    if not extension.size:
        raise FormatError("Requested bitmap directory size is zero")
    offset, end, count = extension.offset, extension.offset + extension.size, 0
    while offset < end:
        if end - offset < layout.BITMAP_ENTRY.size:
            raise FormatError("Broken bitmap directory", offset=offset)
        where, size, flags, kind, bits, name_size, extra_size = source.unpack(layout.BITMAP_ENTRY, offset, pad=True)
        length = layout.BITMAP_ENTRY.size + extra_size + name_size
        if length + -length % 8 > end - offset and not extra_size >> 31:
            raise FormatError("Broken bitmap directory", offset=offset)
        if count >= extension.number:
            raise FormatError("More bitmaps found than specified in header extension", offset=offset)
        count += 1
        if extra_size:
            raise FormatError("Bitmap extra data is not supported", kind=ErrorKind.UNSUPPORTED, offset=offset)
        name = text(source.read(offset + layout.BITMAP_ENTRY.size, min(name_size, limits.BITMAP_NAME), pad=True))
        entry = DirectoryEntry(where, size, flags, bits, name)
        if kind != layout.BITMAP_TYPE_DIRTY or not _acceptable(header, entry, name_size):
            raise FormatError(f"Bitmap '{name}' doesn't satisfy the constraints", offset=offset)
        yield entry
        offset += length + -length % 8
    if count != extension.number:
        raise FormatError("Less bitmaps found than specified in header extension", offset=offset)


def _acceptable(header: Header, entry: DirectoryEntry, name_size: int) -> bool:
    finest, coarsest = limits.BITMAP_GRANULARITY_BITS
    if (
        not 0 < entry.table_size <= limits.BITMAP_TABLE
        or not entry.table_offset
        or entry.table_offset % header.cluster_size
        or not finest <= entry.granularity_bits <= coarsest
        or entry.flags & RESERVED_FLAGS
        or not 0 < name_size <= limits.BITMAP_NAME
        or entry.table_size * header.cluster_size > limits.BITMAP_BYTES
    ):
        return False
    if entry.flags & layout.BITMAP_IN_USE:
        return True
    return entry.table_size * header.cluster_size * 8 << entry.granularity_bits >= header.disk_size


def encoded(entry: DirectoryEntry) -> bytes:
    """An entry of the directory as it is stored."""
    name = entry.name.encode("utf-8", "surrogateescape")
    fields = entry.table_offset, entry.table_size, entry.flags, layout.BITMAP_TYPE_DIRTY, entry.granularity_bits
    data = layout.BITMAP_ENTRY.pack(*fields, len(name), 0) + name
    return data + bytes(-len(data) % 8)


def table_entries(header: Header, granularity_bits: int) -> int:
    """Entries of the table of a bitmap that covers the disk: one for each cluster of bits."""
    bits = -(-header.disk_size >> granularity_bits)
    return -(-(bits + 7 >> 3) // header.cluster_size)


def bitmap_pieces(source: Source, header: Header, entry: DirectoryEntry) -> Iterator[tuple[int, int, bool]]:
    """(index, table entry, whether it is well formed) of every entry of a bitmap's table that is not 0."""
    for index, count, value in equal_runs(source, entry.table_offset, entry.table_size):
        good = sound(header, value)
        for at in range(index, index + count):
            yield at, value, good


def sound(header: Header, value: int) -> bool:
    """Whether an entry of a bitmap table is well formed."""
    offset = value & layout.BITMAP_TABLE_OFFSET_MASK
    return not value & TABLE_RESERVED and not (offset and (value & ALL_ONES or offset % header.cluster_size))


def bitmaps_of(source: Source, header: Header) -> tuple[Bitmap, ...]:
    """The image's bitmaps with qemu's flag words. Tables of consistent ones must be well formed: qemu loads them."""
    found = []
    for entry in directory_entries(source, header):
        if not entry.flags & layout.BITMAP_IN_USE:
            _loadable(source, header, entry)
        words = ((layout.BITMAP_IN_USE, "in-use"), (layout.BITMAP_AUTO, "auto"))
        flags = tuple(word for bit, word in words if entry.flags & bit)
        found.append(Bitmap(entry.name, 1 << entry.granularity_bits, flags))
    return tuple(found)


def _loadable(source: Source, header: Header, entry: DirectoryEntry) -> None:
    unreadable = f"Could not read bitmap_table table from image for bitmap '{entry.name}'"
    if entry.table_offset >> 63:
        raise FormatError(f"{unreadable}: Input/output error")
    if not all(good for _, _, good in bitmap_pieces(source, header, entry)):
        raise FormatError(f"{unreadable}: Invalid argument")
    if entry.table_size != table_entries(header, entry.granularity_bits):
        raise FormatError(f"Could not read bitmap '{entry.name}' from image: Invalid argument")
