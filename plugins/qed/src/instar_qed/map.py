"""Where the content of a QED image lies. Source: docs/interop/qed_spec.rst of QEMU, "Logical offset translation"."""

from __future__ import annotations

from instar_core.errors import ErrorKind, FormatError
from instar_core.types import NOWHERE, Extent, Kind, LayerKind
from instar_qed import layout
from instar_qed.header import read_header
from instar_qed.tables import table_runs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from instar_core.source import Image, Source
    from instar_core.types import Layer, Span
    from instar_qed.header import Header

    Piece = tuple[int, int, int, int]
    """start, length, kind, offset"""


def extents(image: Image, layer: Layer, span: Span) -> Iterator[Extent]:
    """Extents that cover the span, as long as they can be.

    Raises FormatError (CORRUPT) at an entry that names no place in the file, or for another layer.
    """
    if layer.kind != LayerKind.ACTIVE:
        raise FormatError("a QED image has neither snapshots nor bitmaps", kind=ErrorKind.UNSUPPORTED)
    source = image.main
    header = read_header(source)
    end = span.start + span.length
    new = tuple.__new__  # a fragmented image has millions of extents: calling the class costs thrice as much
    at, total, what, where = span.start, 0, Kind.ABSENT, NOWHERE
    for start, length, kind, offset in _pieces(source, header, span.start, end):
        skip = max(0, span.start - start)
        some = min(length, end - start) - skip
        place = offset + skip if kind == Kind.DATA else offset
        if total and kind == what and place == (where if kind != Kind.DATA else where + total):
            total += some
            continue
        if total:
            yield new(Extent, (at, total, what, 0, where, 0, 0, 0, 0))
        at, total, what, where = start + skip, some, kind, place
    if total:
        yield new(Extent, (at, total, what, 0, where, 0, 0, 0, 0))


def _pieces(source: Source, header: Header, start: int, end: int) -> Iterator[Piece]:
    """Pieces of whole clusters that cover the bytes from `start` up to `end`."""
    covered = header.entries * header.cluster_size
    l1 = header.l1_table_offset
    for index, count, table, step in table_runs(source, l1, start // covered, -(-end // covered), header.table_bytes):
        if table == layout.UNALLOCATED:
            yield index * covered, count * covered, Kind.ABSENT, NOWHERE
            continue
        for number in range(count):
            offset = table + step * number
            if not header.table_fits(offset):
                raise FormatError(
                    f"the L2 table at {offset:#x} is not inside the file",
                    kind=ErrorKind.CORRUPT,
                    offset=l1 + layout.ENTRY * (index + number),
                )
            base = (index + number) * covered
            first = max(0, start - base) // header.cluster_size
            last = min(header.entries, -(-(end - base) // header.cluster_size))
            yield from _clusters(source, header, offset, first, last, base)


def _clusters(source: Source, header: Header, table: int, first: int, last: int, base: int) -> Iterator[Piece]:
    """Pieces of the clusters from `first` up to `last` of the table, whose cluster 0 is the disk's byte `base`."""
    size = header.cluster_size
    for index, count, entry, step in table_runs(source, table, first, last, size):
        start = base + index * size
        if entry == layout.UNALLOCATED:
            yield start, count * size, Kind.ABSENT, NOWHERE
        elif entry == layout.ZERO:
            yield start, count * size, Kind.ZERO, NOWHERE
        elif not header.cluster_fits(entry):
            raise _misplaced(entry, table, index)
        elif step or count == 1:
            inside = min(count, (header.file_size - entry) // size)
            yield start, inside * size, Kind.DATA, entry
            if inside < count:
                raise _misplaced(entry + inside * size, table, index + inside)
        else:
            for number in range(count):
                yield start + number * size, size, Kind.DATA, entry


def _misplaced(entry: int, table: int, index: int) -> FormatError:
    return FormatError(
        f"the data cluster at {entry:#x} is not inside the file",
        kind=ErrorKind.CORRUPT,
        offset=table + layout.ENTRY * index,
    )
