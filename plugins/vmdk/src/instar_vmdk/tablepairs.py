"""The grain tables of both grain directories side by side. Places are bytes; tables are counted."""

from __future__ import annotations

from instar_vmdk import limits
from instar_vmdk.grains import tables
from instar_vmdk.layout import SECTOR

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from instar_core.source import Source
    from instar_vmdk.layout import Sparse

    Pair = tuple[int, int, int, int]
    """First table, how many, and where the first lies by the grain directory and by the redundant one (0: none
    of them exists, -1: all zeros)."""


def pairs(source: Source, sparse: Sparse, directory: int, redundant: int) -> Iterator[Pair]:
    """All tables of the extent by both directories, in runs. A directory at 0 names no table."""
    yield from _aligned(
        _walk(source, sparse, directory), _walk(source, sparse, redundant), sparse.per_table * sparse.width
    )


def unlike(source: Source, sparse: Sparse, directory: int, redundant: int) -> Iterator[Pair]:
    """The pairs whose tables do not say the same; those of which both exist come one by one."""
    size = sparse.per_table * sparse.width
    piece = max(1, limits.TABLE_PIECE // sparse.per_table)
    for table, count, one, other in pairs(source, sparse, directory, redundant):
        if one == other:
            continue
        if one <= 0 or other <= 0:
            yield table, count, one, other
            continue
        for at in range(0, count, piece):
            some = min(piece, count - at)
            if same(source, one + at * size, other + at * size, some * size):
                continue
            for each in range(at, at + some):
                if not same(source, one + each * size, other + each * size, size):
                    yield table + each, 1, one + each * size, other + each * size


def same(source: Source, one: int, other: int, length: int) -> bool:
    """Whether both stretches of the file hold the same."""
    return source.read(one, length, pad=True) == source.read(other, length, pad=True)


def outside(source: Source, sparse: Sparse, directory: int) -> Iterator[tuple[int, int, int]]:
    """Tables that do not lie in the file: the first, how many, and where."""
    size = sparse.per_table * sparse.width
    end = -(-source.size // SECTOR) * SECTOR
    for table, count, offset in tables(source, sparse, directory, 0, sparse.entries):
        inside = min(count, max(0, end - offset) // size)
        if offset > 0 and inside < count:
            yield table + inside, count - inside, offset + inside * size


def _walk(source: Source, sparse: Sparse, directory: int) -> Iterator[tuple[int, int, int]]:
    if directory:
        yield from tables(source, sparse, directory, 0, sparse.entries)
    elif sparse.entries:
        yield 0, sparse.entries, 0


def _aligned(one: Iterator[tuple[int, int, int]], other: Iterator[tuple[int, int, int]], size: int) -> Iterator[Pair]:
    """Two walks over the same tables as one, cut where either is cut; places are those of the first table of each."""
    left, right = next(one, None), next(other, None)
    while left is not None and right is not None:
        table = max(left[0], right[0])
        count = min(left[0] + left[1], right[0] + right[1]) - table
        yield table, count, _place(left, table, size), _place(right, table, size)
        end = table + count
        left = next(one, None) if left[0] + left[1] == end else left
        right = next(other, None) if right[0] + right[1] == end else right


def _place(walked: tuple[int, int, int], table: int, size: int) -> int:
    """Where `table` lies, given a walk's run of tables end to end."""
    return walked[2] + (table - walked[0]) * size if walked[2] > 0 else walked[2]
