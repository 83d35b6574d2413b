"""Where the content of a qcow2 image lies. Source: docs/interop/qcow2.txt of QEMU, "Cluster mapping"."""

from __future__ import annotations

from instar_core.columns import Stream
from instar_core.errors import ErrorKind, FormatError
from instar_core.types import NOWHERE, Extent, Flag, Kind, Layer, LayerKind, Span
from instar_qcow2 import layout, limits
from instar_qcow2.bitmap_map import bitmap_extents
from instar_qcow2.errors import corrupt, hexadecimal
from instar_qcow2.fragments import Fragments, fragments
from instar_qcow2.header import read_header, table_fits
from instar_qcow2.layout import ALL, U64, compressed_place
from instar_qcow2.refcounts import looks_preallocated
from instar_qcow2.rows import Rows
from instar_qcow2.snapshots import find_snapshot
from instar_qcow2.tablescan import equal_runs, l2_runs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from instar_core.source import Image, Source
    from instar_qcow2.header import Header
    from instar_qcow2.rows import Piece

ALL_DATA = ALL
ALL_ZERO = ALL << layout.SUBCLUSTERS
WHOLE = {0: Kind.ABSENT, ALL_DATA: Kind.DATA, ALL_ZERO: Kind.ZERO}
"""Subcluster bitmaps that make a cluster of one kind."""
CIPHER = 2
"""Number of the coding that an encrypted image's content has: see info."""


def map_(image: Image, layer: Layer, span: Span) -> Iterable[Extent]:
    """Extents that cover the span, as long as they can be.

    Unallocated subclusters of an allocated cluster are ABSENT with the place that is reserved for them. Data lies in
    device 1 where the image has an external data file.
    """
    source = image.main
    header = read_header(source)
    l1_offset, l1_size = header.l1_table_offset, header.l1_size
    if layer.kind == LayerKind.SNAPSHOT:
        entry = find_snapshot(source, header, layer.id)
        l1_offset, l1_size = entry.l1_table_offset, entry.l1_size
        table_fits(header, (l1_offset, 8 * l1_size), limits.L1_TABLE, "Snapshot L1 table", entry.offset)
    elif layer.kind == LayerKind.BITMAP:
        return bitmap_extents(source, header, layer.id, span)
    elif layer.kind != LayerKind.ACTIVE:
        raise FormatError(f"qcow2 has no layer of the kind {layer.kind}", kind=ErrorKind.UNSUPPORTED)
    device = 1 if header.data_file else 0
    flags = Flag.REFINE if looks_preallocated(source, header) else 0
    pieces = l1_pieces(source, header, l1_offset, l1_size, span)
    if header.crypt_method != layout.CRYPT_NONE:  # a place that is only reserved decrypts to no zeros
        return encrypted(iter(Stream(Rows(span, device, 0, placeless=True).batches(pieces))))
    return Stream(Rows(span, device, flags).batches(pieces))


def encrypted(extents: Iterator[Extent]) -> Iterator[Extent]:
    """The same extents with what is plain data encrypted, cut so that windows agree and stored lengths fit."""
    for extent in extents:
        start, length, kind, device, offset, _, coding, _, _ = extent
        if kind != Kind.DATA or coding:
            yield extent
            continue
        end = start + length
        while start < end:
            some = min(end - start, limits.ENCRYPTED - start % limits.ENCRYPTED)
            yield Extent(start, some, kind, device, offset, some, CIPHER)
            start, offset = start + some, offset + some


def l1_pieces(source: Source, header: Header, l1_offset: int, l1_size: int, span: Span) -> Iterator[Piece | Fragments]:
    """Pieces of whole clusters that cover the span."""
    if not span.length:
        return
    covered = header.l2_entries * header.cluster_size
    first, last = span.start // covered, (span.start + span.length - 1) // covered
    inside = max(0, min(last + 1, l1_size) - first)
    done = first
    for index, count, stored in equal_runs(source, l1_offset + 8 * first, inside):
        entry = stored & ~layout.COPIED
        if not entry:
            continue
        if first + index > done:
            yield done * covered, (first + index - done) * covered, Kind.ABSENT, NOWHERE, 0
        done = first + index + count
        for number in range(first + index, done):
            _check_l1(header, entry, number, l1_offset + 8 * number)
            low = max(0, (span.start - number * covered) // header.cluster_size)
            high = min(header.l2_entries, -((number * covered - span.start - span.length) // header.cluster_size))
            yield from l2_pieces(source, header, entry & layout.OFFSET_MASK, (low, high), number * covered)
    if done <= last:
        yield done * covered, (last + 1 - done) * covered, Kind.ABSENT, NOWHERE, 0


def _check_l1(header: Header, entry: int, number: int, where: int) -> None:
    offset = entry & layout.OFFSET_MASK
    if offset % header.cluster_size:
        raise corrupt(f"L2 table offset {offset:#x} unaligned (L1 index: {hexadecimal(number)})", where)
    if entry & layout.L1_RESERVED:
        raise corrupt(f"L1 entry {entry:#x} has reserved bits set (L1 index: {hexadecimal(number)})", where)


def l2_pieces(
    source: Source, header: Header, table: int, entries: tuple[int, int], base: int
) -> Iterator[Piece | Fragments]:
    """Pieces of the L2 entries from the first up to the second of `entries`; entry 0 of the table maps `base`."""
    low, high = entries
    size, bits, width = header.cluster_size, header.cluster_bits, header.l2_entry_size
    shift = 64 if width == 16 else 0
    ignored = 0 if header.data_file else layout.COPIED << shift
    stride = size << shift
    data_file = header.data_file
    compressed = layout.COMPRESSED << shift
    runs, whole = l2_runs(source, header, table + width * low, high - low, ignored=ignored)
    found = None if whole is None else fragments(header, whole, base + (low << bits))
    if found is not None:
        yield found
        return
    for index, count, first, step in runs:
        start = base + (low + index << bits)
        if not first and not step:
            yield start, count << bits, Kind.ABSENT, NOWHERE, 0
            continue
        if count == 1 and first & compressed and not data_file:
            yield start, size, Kind.DATA, *compressed_place(header, first >> shift)
            continue
        kind = _uniform_kind(header, first >> shift, first & U64 if shift else -1)
        offset = first >> shift & layout.OFFSET_MASK
        final = first + step * (count - 1) >> shift
        if kind in (Kind.ZERO, Kind.ABSENT) and not step and not offset and not data_file:
            yield start, count << bits, kind, NOWHERE, 0
            continue
        if (
            kind is not None
            and (step == stride or count == 1)
            and offset
            and not offset & size - 1
            and not (first >> shift ^ final) & ~layout.OFFSET_MASK
            and (not data_file or offset == start)
        ):
            yield start, count << bits, kind, offset, 0
            continue
        for number in range(count):
            value = first + step * number
            place = table, low + index + number
            guest = start + (number << bits)
            yield from entry_pieces(header, value >> shift, value & U64 if shift else 0, place, guest)


def _uniform_kind(header: Header, entry: int, bitmap: int) -> int | None:
    """What a whole cluster with this entry is if it has a place; None where that needs a closer look. -1: no bitmap."""
    if entry & (layout.COMPRESSED | layout.L2_RESERVED):
        return None
    if bitmap >= 0:
        return None if entry & layout.ZERO else WHOLE.get(bitmap)
    if not entry & layout.ZERO:
        return Kind.DATA
    return Kind.ZERO if header.version >= 3 else None


def entry_pieces(header: Header, entry: int, bitmap: int, place: tuple[int, int], start: int) -> Iterator[Piece]:
    """The pieces of one L2 entry; `place` is (offset of its table, its index there)."""
    size = header.cluster_size
    if entry & layout.COMPRESSED:
        if header.data_file:
            raise _bad(header, "Compressed cluster entry found in image with external data file", place)
        offset, stored = compressed_place(header, entry)
        yield start, size, Kind.DATA, offset, stored
        return
    zero = entry & layout.ZERO
    if zero and header.version < 3:
        raise _bad(header, "Zero cluster entry found in pre-v3 image", place)
    offset = entry & layout.OFFSET_MASK
    allocated = bool(offset) or bool(header.data_file and entry & layout.COPIED and not zero)
    if header.extended_l2 and (bitmap >> 32 & bitmap if allocated else bitmap & ALL):
        raise _bad(header, "Invalid cluster entry found ", place)
    if allocated and offset % size:
        raise _bad(header, f"Cluster allocation offset {offset:#x} unaligned", place)
    if entry & (layout.L2_RESERVED | (layout.ZERO if header.extended_l2 else 0)):
        raise _bad(header, f"L2 entry {entry:#x} has reserved bits set", place)
    if allocated and header.data_file and offset != start:
        raise corrupt(
            f"External data file host cluster offset {hexadecimal(offset)} does not match guest cluster offset: "
            f"{hexadecimal(start)}, L2 index: {hexadecimal(place[1])})",
            place[0] + place[1] * header.l2_entry_size,
        )
    if not allocated:
        offset = NOWHERE
    if header.extended_l2:
        yield from subcluster_pieces(bitmap, offset, start, size)
    elif zero:
        yield start, size, Kind.ZERO, offset, 0
    else:
        yield start, size, Kind.DATA if allocated else Kind.ABSENT, offset, 0


def subcluster_pieces(bitmap: int, offset: int, start: int, size: int) -> Iterator[Piece]:
    """Pieces of a cluster by its subcluster bitmap: the low half says allocated, the high half reads as zeros."""
    if bitmap in WHOLE:
        yield start, size, WHOLE[bitmap], offset, 0
        return
    unit = size // layout.SUBCLUSTERS
    for number in range(layout.SUBCLUSTERS):
        kind = Kind.ABSENT
        if bitmap >> layout.SUBCLUSTERS + number & 1:
            kind = Kind.ZERO
        elif bitmap >> number & 1:
            kind = Kind.DATA
        skip = number * unit
        yield start + skip, unit, kind, offset + skip if offset >= 0 else NOWHERE, 0


def _bad(header: Header, message: str, place: tuple[int, int]) -> FormatError:
    where = f"(L2 offset: {place[0]:#x}, L2 index: {hexadecimal(place[1])})"
    return corrupt(f"{message} {where}", place[0] + place[1] * header.l2_entry_size)
