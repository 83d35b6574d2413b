"""What a dirty bitmap says of the disk. Source: docs/interop/qcow2.txt of QEMU, "Bitmaps"."""

from __future__ import annotations

from instar_core.bits import dirty_extents, set_runs
from instar_core.errors import ErrorKind, FormatError
from instar_qcow2 import layout
from instar_qcow2.bitmaps import ALL_ONES, directory_entries, sound, table_entries
from instar_qcow2.errors import corrupt
from instar_qcow2.tablescan import equal_runs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from instar_core.source import Source
    from instar_core.types import Extent, Span
    from instar_qcow2.bitmaps import DirectoryEntry
    from instar_qcow2.header import Header


def bitmap_extents(source: Source, header: Header, name: str, span: Span) -> Iterator[Extent]:
    """Extents that cover the span, as long as they can be: see instar_core.bits.dirty_extents.

    Raises FormatError: MISSING where there is no such bitmap, CORRUPT where nobody knows what it says.
    """
    entry = next((each for each in directory_entries(source, header) if each.name == name), None)
    if entry is None:
        raise FormatError(f"Dirty bitmap '{name}' not found", kind=ErrorKind.MISSING)
    if entry.flags & layout.BITMAP_IN_USE or entry.table_size < table_entries(header, entry.granularity_bits):
        raise FormatError(f"Bitmap '{name}' is inconsistent and cannot be used", kind=ErrorKind.CORRUPT)
    return dirty_extents(dirty(source, header, entry, span.start, span.start + span.length), span)


def dirty(source: Source, header: Header, entry: DirectoryEntry, low: int, high: int) -> Iterator[tuple[int, int]]:
    """(start, end) in bytes of what is dirty in those parts of the bitmap that [low, high) lies in, ascending."""
    size, bits = header.cluster_size, entry.granularity_bits
    covered = 8 * size << bits
    if low >= high:
        return
    first = low // covered
    last = min(entry.table_size, -(-high // covered))
    for index, count, value in equal_runs(source, entry.table_offset + 8 * first, last - first):
        place = entry.table_offset + 8 * (first + index)
        if not sound(header, value):
            raise corrupt(f"Bitmap '{entry.name}' has a table entry that is no place: {value:#x}", place)
        base = (first + index) * covered
        if value == ALL_ONES:
            yield base, base + count * covered
            continue
        data = source.read(value & layout.BITMAP_TABLE_OFFSET_MASK, size, pad=True)
        for number in range(count):
            for bit, some in set_runs(data):
                start = base + number * covered + (bit << bits)
                yield start, start + (some << bits)
