"""Where the content of a Parallels image lies."""

from __future__ import annotations

from instar_core.bits import dirty_extents, set_runs
from instar_core.errors import ErrorKind, FormatError
from instar_core.types import Extent, Kind, LayerKind
from instar_parallels.clusters import Where, stretches
from instar_parallels.layout import ALL_CLEAR, ALL_SET, CLOSED, IN_USE_AT
from instar_parallels.opening import open_disk

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from instar_core.source import Image
    from instar_core.types import Layer, Span
    from instar_parallels.opening import Disk


def extents(image: Image, layer: Layer, span: Span) -> Iterator[Extent]:
    """Extents that cover `span` exactly, neighbours joined. Raises FormatError for another layer than the active one or
    a bitmap."""
    if layer.kind not in (LayerKind.ACTIVE, LayerKind.BITMAP):
        raise FormatError("a Parallels image has no content but the active one", kind=ErrorKind.UNSUPPORTED)
    disk = open_disk(image.main)
    if layer.kind == LayerKind.BITMAP:
        yield from dirty_extents(_dirty(image, disk, layer.id), span)
        return
    last: Extent | None = None
    for start, length, offset in _pieces(image, disk, span.start, span.start + span.length):
        if last is not None:
            joined = last.offset + last.length == offset if offset >= 0 else last.kind == Kind.ABSENT
            if joined and (offset < 0 or last.kind == Kind.DATA):
                last = last._replace(length=last.length + length)
                continue
            yield last
        last = Extent(start, length, Kind.ABSENT) if offset < 0 else Extent(start, length, Kind.DATA, 0, offset)
    if last is not None:
        yield last


def _dirty(image: Image, disk: Disk, name: str) -> Iterator[tuple[int, int]]:
    """(start, end) in bytes of what is dirty in the bitmap."""
    stored = next((each for each in disk.bitmaps if each.bitmap.name == name), None)
    if stored is None:
        raise FormatError(f"Dirty bitmap '{name}' not found", kind=ErrorKind.MISSING)
    if disk.header.in_use != CLOSED:
        raise FormatError(
            f"Bitmap '{name}' is inconsistent and cannot be used: the last program that had the image open for writing "
            "did not keep it up to date",
            kind=ErrorKind.CORRUPT,
            offset=IN_USE_AT,
        )
    granule = stored.bitmap.granularity
    covered = 8 * disk.cluster * granule
    for index, place in enumerate(stored.table):
        base = index * covered
        if place == ALL_SET:
            yield base, base + covered
        elif place != ALL_CLEAR:
            for bit, count in set_runs(image.main.read(place, disk.cluster, pad=True)):
                yield base + bit * granule, base + (bit + count) * granule


def _pieces(image: Image, disk: Disk, low: int, high: int) -> Iterator[tuple[int, int, int]]:
    """The window [low, high) as (start, length, offset in the file or -1), each piece end to end in the file."""
    size = disk.cluster
    if low >= high:
        return
    for entry, count, where, offset, step in stretches(image.main, disk, low // size, -(-high // size)):
        together = count if step or where != Where.INSIDE else 1
        for number in range(0, count, together):
            start = (entry + number) * size
            end = min(high, start + together * size)
            skip = max(0, low - start)
            place = offset + number * step + skip if where == Where.INSIDE else -1
            yield start + skip, end - start - skip, place
