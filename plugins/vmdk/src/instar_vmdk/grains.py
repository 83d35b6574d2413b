"""Walking the grain tables of a sparse extent, whichever kind it is. Offsets and lengths are bytes; grains are counted.

Directories and tables are looked at as arithmetic runs, so a walk costs what the image's fragmentation costs.
"""

from __future__ import annotations

from instar_core.errors import ErrorKind, FormatError
from instar_core.types import Kind
from instar_vmdk import limits
from instar_vmdk.layout import SECTOR, ZEROED, Sparse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from instar_core.source import Source

    Tables = tuple[int, int, int]
    """First table's number, how many, and where the first lies (0: none of them exists, -1: all zeros)."""
    Grains = tuple[int, int, int, int]
    """First grain, how many, their Kind, and where the first lies; data grains follow one another."""

TOP = 0xF << 60
ALLOCATED = 0x3 << 60
UNMAPPED = (0x1 << 60, 0x2 << 60)
TABLE_TOP = 0x10000000 << 32
LOW_BITS = 12
SESPARSE_STRIDE = 1 << 48


def grains(source: Source, sparse: Sparse, first: int, end: int) -> Iterator[Grains]:
    """The state of grains `first` to `end` (exclusive), in order, without a gap.

    What lies past the end of the file reads as zeros, as in qemu. Raises FormatError (CORRUPT) for entries of a kind
    that does not exist.
    """
    per = sparse.per_table
    for table, count, offset in tables(source, sparse, sparse.directory, first // per, -(-end // per)):
        low = max(first, table * per)
        high = min(end, (table + count) * per)
        if offset <= 0:
            yield low, high - low, Kind.ZERO if offset < 0 else Kind.ABSENT, 0
            continue
        for at in range(low, high, limits.TABLE_PIECE):
            here = offset + (at - table * per) * sparse.width
            yield from piece(source, sparse, at, min(limits.TABLE_PIECE, high - at), here)


def tables(source: Source, sparse: Sparse, directory: int, first: int, end: int) -> Iterator[Tables]:
    """Where the grain tables `first` to `end` (exclusive) lie, as the directory at `directory` says."""
    size = sparse.per_table * sparse.width
    stride = 1 if sparse.width == 8 else -(-size // SECTOR)
    for at in range(first, end, limits.DIRECTORY_PIECE):
        count = min(limits.DIRECTORY_PIECE, end - at)
        here = directory + at * sparse.width
        for index, length, entry, step in source.runs(here, count, sparse.width, stride, big=False, pad=True):
            number = at + index
            locate = _sesparse_table if sparse.width == 8 else _hosted_table
            if step and stride * SECTOR == size:
                # Entry 0, and 1 with the flag, are no places: what follows them may look like a run that they begin.
                split = 1 if entry <= ZEROED else 0
                if split:
                    yield number, 1, locate(sparse, entry)
                yield number + split, length - split, locate(sparse, entry + split * step)
            elif step and sparse.width == 8:
                locate(sparse, entry + step * (length - 1))
                yield number, length, locate(sparse, entry)
            elif not step and locate(sparse, entry) <= 0:
                yield number, length, locate(sparse, entry)
            else:
                for each in range(length):
                    yield number + each, 1, locate(sparse, entry + each * step)


def _hosted_table(sparse: Sparse, entry: int) -> int:
    if entry == ZEROED and sparse.zeroed:
        return -1
    return entry * SECTOR


def _sesparse_table(sparse: Sparse, entry: int) -> int:
    if not entry:
        return 0
    if entry & ~0xFFFFFFFF != TABLE_TOP:
        raise FormatError(f"the grain directory entry {entry:#x} is none", kind=ErrorKind.CORRUPT)
    return sparse.tables + (entry & 0xFFFFFFFF) * sparse.per_table * sparse.width


def piece(source: Source, sparse: Sparse, first: int, count: int, offset: int) -> Iterator[Grains]:
    """The state of `count` grains from `first` on, whose entries lie at `offset`."""
    if sparse.width == 8:
        for index, length, entry, step in source.runs(offset, count, 8, SESPARSE_STRIDE, big=False, pad=True):
            yield from _sesparse(sparse, first + index, length, entry, step, offset)
        return
    stride = sparse.grain // SECTOR
    for index, length, entry, step in source.runs(offset, count, 4, stride, big=False, pad=True):
        yield from _hosted(sparse, first + index, length, entry, step)


def _hosted(sparse: Sparse, grain: int, count: int, entry: int, step: int) -> Iterator[Grains]:
    if entry == 0 or (entry == ZEROED and sparse.zeroed):
        # Such an entry is no place, so of a run that ascends from it only the first is.
        alike = 1 if step else count
        yield grain, alike, Kind.ZERO if entry else Kind.ABSENT, 0
        grain += alike
        count -= alike
        entry += step
    if not count:
        return
    if step or count == 1:
        yield grain, count, Kind.DATA, entry * SECTOR
        return
    for index in range(count):
        yield grain + index, 1, Kind.DATA, entry * SECTOR


def _sesparse(sparse: Sparse, grain: int, count: int, entry: int, step: int, offset: int) -> Iterator[Grains]:
    while count:
        # Bits 48 to 59 are the low ones of a grain's number: a run of neighbours ends where they overflow.
        low = (entry >> 48) & 0xFFF
        length = min(count, (1 << LOW_BITS) - low) if step else count
        kind = entry & TOP
        if not entry and step:
            length = 1
        if not entry:
            yield grain, length, Kind.ABSENT, 0
        elif kind in UNMAPPED:
            yield grain, length, Kind.ZERO, 0
        elif kind == ALLOCATED:
            place = sparse.grains + (((entry & ((1 << 48) - 1)) << LOW_BITS) | low) * sparse.grain
            if step or length == 1:
                yield grain, length, Kind.DATA, place
            else:
                for index in range(length):
                    yield grain + index, 1, Kind.DATA, place
        else:
            raise FormatError(f"the grain table entry {entry:#x} is none", kind=ErrorKind.CORRUPT, offset=offset)
        grain += length
        count -= length
        entry += step * length
