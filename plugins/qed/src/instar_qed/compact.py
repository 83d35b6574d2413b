"""Freeing clusters that nothing refers to: what lies last in the file goes where they are, and the file is cut behind.

The format has no other way to say that a cluster is free. Everything is copied before the one entry leads to the copy.
"""

from __future__ import annotations

from instar_core import limits as core_limits
from instar_core.types import Barrier, Put, Truncate
from instar_qed import layout, limits
from instar_qed.tables import table_runs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import NamedTuple

    from instar_core.source import Source
    from instar_core.types import Edit
    from instar_qed.header import Header
else:
    from instar_core.record import NamedTuple


class Move(NamedTuple):
    """Clusters that go from number `old` to number `new`, and where what leads to them stands: that `entry` of the
    table at offset `table`, or, where that is 0, the header's field for the L1 table."""

    old: int
    new: int
    clusters: int
    table: int
    entry: int


class Compaction(NamedTuple):
    """Moves of the L1 table and of L2 tables, then of data clusters, and the clusters that the file has afterwards."""

    moves: tuple[Move, ...]
    data: tuple[Move, ...]
    end: int


def compaction(source: Source, header: Header, leaks: Sequence[tuple[int, int]]) -> Compaction | None:
    """How to free all leaked clusters, (first, count) each and ascending, of an image in which none has two owners.

    Entries that name no cluster of the file are left out. None where that would move more than limits.COMPACTED bytes,
    or where a table finds no room of its size.
    """
    total = header.file_size // header.cluster_size
    end = total - sum(count for _, count in leaks)
    holes = [(first, min(count, end - first)) for first, count in leaks if first < end]
    wanted = sum(count for _, count in holes)
    # In a header of no clusters, which is one nevertheless, the first cluster would pass for a leaked one.
    if not header.header_size or wanted * header.cluster_size > limits.COMPACTED or wanted > limits.MOVES:
        return None
    tables, data = _behind(source, header, end)
    if any(old < end for old, _, _ in tables):
        return None
    moves: list[Move] = []
    for old, table, index in tables:
        place = _room(holes, header.table_size)
        if place < 0:
            return None
        moves.append(Move(old, place, header.table_size, table, index))
    free = (number for first, count in holes for number in range(first, first + count))
    return Compaction(tuple(moves), tuple([Move(old, next(free), 1, table, index) for old, table, index in data]), end)


def compacted(source: Source, header: Header, plan: Compaction) -> Iterator[Edit]:
    """The plan carried out: a stop leaves as many leaks as before, or fewer."""
    moved: dict[int, int] = {}
    size = header.cluster_size
    for move in plan.moves:
        yield from _copied(source, move, size)
        yield Barrier()
        yield _led(move, moved, size)
        yield Barrier()
        moved[move.old * size] = move.new * size
    for move in plan.data:
        yield from _copied(source, move, size)
    if plan.data:
        yield Barrier()
        for move in plan.data:
            yield _led(move, moved, size)
        yield Barrier()
    yield Truncate(plan.end * size)
    yield Barrier()


def _behind(source: Source, header: Header, end: int) -> tuple[list[tuple[int, int, int]], list[tuple[int, int, int]]]:
    """Tables of which a cluster lies at number `end` or behind, the L1 table first, and data clusters: each as
    (cluster, offset of the table that leads to it, index there)."""
    size, l1 = header.cluster_size, header.l1_table_offset
    tables = [(l1 // size, 0, 0)] if l1 // size + header.table_size > end else []
    data: list[tuple[int, int, int]] = []
    for first, count, entry, step in table_runs(source, l1, 0, header.entries, header.table_bytes):
        for number in range(count if entry else 0):
            place = entry + step * number
            if not header.table_fits(place):
                continue
            if place // size + header.table_size > end:
                tables.append((place // size, l1, first + number))
            for at, some, value, by in table_runs(source, place, 0, header.entries, size):
                if value <= layout.ZERO or value % size:
                    continue
                low = max(0, end - value // size) if by else 0
                high = min(some, (header.file_size - value) // size) if by else some
                inside = by or end * size <= value < header.file_size
                data += [
                    (value // size + each * bool(by), place, at + each) for each in range(low, high if inside else 0)
                ]
    return tables, data


def _room(holes: list[tuple[int, int]], count: int) -> int:
    """The first place of so many clusters among the holes, which are smaller by it then; -1 where there is none."""
    for number, (first, room) in enumerate(holes):
        if room >= count:
            holes[number] = first + count, room - count
            return first
    return -1


def _led(move: Move, moved: dict[int, int], size: int) -> Put:
    """The write by which the copy is what counts."""
    table = moved.get(move.table, move.table)
    where = table + layout.ENTRY * move.entry if table else layout.L1_TABLE_OFFSET
    return Put(where, (move.new * size).to_bytes(layout.ENTRY, "little"))


def _copied(source: Source, move: Move, size: int) -> Iterator[Edit]:
    for at in range(0, move.clusters * size, core_limits.PUT):
        some = min(core_limits.PUT, move.clusters * size - at)
        yield Put(move.new * size + at, source.read(move.old * size + at, some, pad=True))
