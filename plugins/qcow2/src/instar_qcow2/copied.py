"""The COPIED flags of the active tables: set exactly where the refcount is 1.

Source: docs/interop/qcow2.txt of QEMU, "Cluster mapping".
"""

from __future__ import annotations

from instar_qcow2 import layout
from instar_qcow2.level2 import entry_runs
from instar_qcow2.mending import is_allocated
from instar_qcow2.refcounts import ONE, UnreadableBlockError
from instar_qcow2.references import LINES
from instar_qcow2.tablescan import equal_runs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from typing import NamedTuple, Protocol

    from instar_core.source import Source
    from instar_core.tally import ReferenceTally
    from instar_qcow2.header import Header
    from instar_qcow2.mending import Mending
    from instar_qcow2.refcounts import Refcounts
    from instar_qcow2.references import References

    class Counts(Protocol):
        """Refcounts by host cluster number."""

        def __getitem__(self, cluster: int) -> int: ...
        def uniform(self, first: int, count: int, one: bool) -> bool:
            """Whether each of these has refcount 1, or with `one` false none has."""
            ...
else:
    from instar_core.record import NamedTuple


TABLES = 1 << 16
"""L2 tables of which it is remembered how many wrong flags they have."""


class WrongFlag(NamedTuple):
    """An entry whose flag is wrong: its place in the file, what it says, the refcount, and the index of an L1 entry, or
    -1 for an L2 entry. With `again` it is the L1 entry that names a table with so many wrong flags once more."""

    place: int
    entry: int
    refcount: int
    l1_index: int
    again: int = 0


class Counted:
    """The references that were counted, as refcounts that are to be stored; never more than `most` stores."""

    __slots__ = ("_most", "_tally")

    def __init__(self, tally: ReferenceTally, most: Refcounts | None = None) -> None:
        self._tally = tally
        self._most = most

    def __getitem__(self, cluster: int) -> int:
        counted = self._tally[cluster]
        return counted if self._most is None else min(counted, self._most[cluster])

    def uniform(self, first: int, count: int, one: bool) -> bool:
        """Whether each of these clusters has refcount 1, or with `one` false none has."""
        if self._most is not None:
            return all((self[cluster] == 1) == one for cluster in range(first, first + count))
        counts = self._tally.narrow(first, count)
        return counts == ONE * count if one else ONE not in counts


def wrong_flags(
    source: Source, header: Header, counts: Counts, doubtful: Collection[int] | None, references: References | None
) -> Iterator[WrongFlag]:
    """Every wrong flag, in the order of the tables. Only the L2 tables of the L1 indices in `doubtful` (ascending) are
    looked at, or all; entries are taken as those that counted `references` mend them. Unreadable refcounts make
    no flag wrong."""
    left = iter(doubtful) if doubtful is not None else None
    doubt = next(left, -1) if left is not None else 0
    bits = header.cluster_bits
    known: dict[int, int] = {}
    told = 0
    mends = references is not None and references.sole(header.l1_table_offset, 8 * header.l1_size)
    for index, count, stored in equal_runs(source, header.l1_table_offset, header.l1_size):
        entry = references.mending.l1(stored) if references is not None and mends else stored
        table = entry & layout.OFFSET_MASK
        for number in range(index, index + count if table else index):
            try:
                refcount = counts[table >> bits]
            except UnreadableBlockError:
                continue
            if (refcount == 1) != bool(entry & layout.COPIED):
                yield WrongFlag(header.l1_table_offset + 8 * number, entry, refcount, number)
            if left is not None:
                while 0 <= doubt < number:
                    doubt = next(left, -1)
                if doubt != number:
                    continue
            if told > LINES and table in known:
                if known[table]:
                    yield WrongFlag(table, entry, refcount, number, known[table])
                continue
            wrong = 0
            for flag in _wrong_flags_of(source, header, counts, table, references):
                wrong += 1
                yield flag
            told += wrong
            if len(known) < TABLES:
                known[table] = wrong


def _wrong_flags_of(
    source: Source, header: Header, counts: Counts, table: int, references: References | None
) -> Iterator[WrongFlag]:
    data = source.read(table, header.cluster_size, pad=True)
    mending = references.mending if references is not None and references.sole_table(table) else None
    for index, count, entry, step in entry_runs(header, data):
        offset = entry & layout.OFFSET_MASK
        if not entry & (layout.COMPRESSED | layout.OFFSET_MASK | layout.COPIED):
            continue
        plain = not entry & (layout.COMPRESSED | layout.L2_RESERVED) and not offset & header.cluster_size - 1
        if plain and offset and not header.data_file:
            far = mending is not None and mending.far(offset + step * (count - 1), header.cluster_size)
            try:
                some = count if step else 1
                if not far and counts.uniform(offset >> header.cluster_bits, some, bool(entry & layout.COPIED)):
                    continue
            except UnreadableBlockError:
                pass  # some of them may be readable
        yield from _each(header, counts, (table, data), (index, count, entry, step), mending)


def _each(
    header: Header, counts: Counts, where: tuple[int, bytes], run: tuple[int, int, int, int], mending: Mending | None
) -> Iterator[WrongFlag]:
    table, data = where
    index, count, entry, step = run
    width = header.l2_entry_size
    for at in range(count):
        value = entry + step * at
        place = (index + at) * width
        if mending is not None:
            bitmap = int.from_bytes(data[place + 8 : place + 16], "big") if width == 16 else 0
            value, _ = mending.l2(value, bitmap)
        if value & layout.COMPRESSED or not is_allocated(header, value):
            continue
        try:
            refcount = 1 if header.data_file else counts[(value & layout.OFFSET_MASK) >> header.cluster_bits]
        except UnreadableBlockError:
            continue
        if (refcount == 1) != bool(value & layout.COPIED):
            yield WrongFlag(table + place, value, refcount, -1)
