"""Tables and data that lie in clusters where other metadata lies too get places of their own.

A reference count alone cannot mend that: whoever writes the one then changes the other. What moves is copied as it is
read now. Source: docs/interop/qcow2.txt of QEMU, "Host cluster management".
"""

from __future__ import annotations

from instar_core.types import Barrier, Put
from instar_qcow2 import layout
from instar_qcow2.layout import compressed_place
from instar_qcow2.repair_refcounts import Free, room
from instar_qcow2.tablescan import equal_runs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from instar_core.source import Source
    from instar_core.types import Edit
    from instar_qcow2.repair_snapshots import Table
    from instar_qcow2.survey import Survey

MOVES = 1 << 12
"""Clusters, and entries that name them, which are moved by one plan; a further one moves the rest."""


class Overlaps:
    """Clusters in which metadata lies and that something else refers to: `fixed` by what only the header, or a table of
    its own, names, `tables` by L2 tables. Those that more refer to than a refcount can say are `fixed` too: each of
    them gets a copy of its own."""

    __slots__ = ("_free", "_header", "_l1s", "_moved", "_source", "_survey", "fixed", "tables")

    def __init__(self, source: Source, table: Table, survey: Survey) -> None:
        """`survey` is a complete count, in which nothing was mended."""
        self._source = source
        self._survey = survey
        self._header = header = survey.header
        references = survey.references
        self._free = Free(references)
        self._moved: dict[tuple[int, int, bool], int] = {}
        size, bits = header.cluster_size, header.cluster_bits
        snapshots = [(entry.l1_table_offset, entry.l1_size) for entry in table.entries]
        self._l1s = [
            (offset, entries)
            for offset, entries in dict.fromkeys([(header.l1_table_offset, header.l1_size), *snapshots])
            if entries and not offset % size and not references.mending.far(offset, 8 * entries)
        ]
        self.fixed = {
            cluster
            for offset, length in self._fixed_places(table)
            for cluster in range(offset >> bits, (offset + length - 1 >> bits) + 1)
            if references.tally[cluster] > 1 or cluster in references.overflowed
        }
        self.fixed |= references.overflowed
        self.tables = {
            l2 >> bits
            for offset, entries in self._l1s
            for _, _, entry in equal_runs(source, offset, entries)
            if (l2 := entry & layout.OFFSET_MASK) and not l2 % size
            if references.tally[l2 >> bits] > references.tables[l2 >> bits] > 0
        }

    def _fixed_places(self, table: Table) -> Iterator[tuple[int, int]]:
        header, references, refcounts = self._header, self._survey.references, self._survey.refcounts
        places = [(0, header.cluster_size), *((offset, 8 * entries) for offset, entries in self._l1s)]
        places.append((header.refcount_table_offset, header.refcount_table_clusters << header.cluster_bits))
        if table.entries:
            last = table.entries[-1]
            places.append((header.snapshots_offset, last.offset + last.length - header.snapshots_offset))
        if header.extensions.bitmaps is not None:
            places.append((header.extensions.bitmaps.offset, header.extensions.bitmaps.size))
        if header.extensions.crypto is not None:
            places.append(header.extensions.crypto)
        for offset, length in places:
            if length and not references.mending.far(offset, length):
                yield offset, length
        for index, count, entry in equal_runs(self._source, refcounts.table_offset, refcounts.entries):
            if not self._survey.refcount_block_fault(index, entry) and count:
                yield entry & layout.REFTABLE_OFFSET_MASK, header.cluster_size

    def separated(self) -> Iterator[Edit]:
        """Nothing else refers to these clusters any more, as far as the plan goes; empty where nothing does now.

        The refcounts of the new places are left for the next repair: until then the image counts as corrupt, so that
        nobody writes to it.
        """
        if not self.fixed and not self.tables:
            return
        patches: list[tuple[int, bytes]] = []
        fresh: list[tuple[int, bytes]] = []
        copies = list(self._copies(patches, fresh))
        if not copies:
            return
        header = self._header
        if header.version >= 3 and not header.incompatible_features & layout.INCOMPAT_CORRUPT:
            yield Put(72, (header.incompatible_features | layout.INCOMPAT_CORRUPT).to_bytes(8, "big"))
            yield Barrier()
        yield from room(self._source, self._survey, self._free)
        for old, length, new in copies:
            yield Put(new, self._source.read(old, length, pad=True))
        for offset, words in fresh:
            yield Put(offset, words)
        yield Barrier()
        for offset, words in patches:
            yield Put(offset, words)
        yield Barrier()

    def _copies(
        self, patches: list[tuple[int, bytes]], fresh: list[tuple[int, bytes]]
    ) -> Iterator[tuple[int, int, int]]:
        """(offset, length, new offset) of what moves; `patches` gets the entries that name it, `fresh` those in L2
        tables that move themselves, at their new places."""
        plain = not self._header.data_file and self._header.crypt_method != layout.CRYPT_LUKS
        header = self._header
        size, bits = header.cluster_size, header.cluster_bits
        seen: set[int] = set()
        for l1_offset, entries in self._l1s:
            for index, count, entry in equal_runs(self._source, l1_offset, entries):
                table = entry & layout.OFFSET_MASK
                if not table or table % size or self._survey.references.mending.far(table, size):
                    continue
                if table >> bits in self.fixed:
                    for at in range(index, index + count):
                        yield from self._copy(table, size, True)
                        new = self._moved[table, size, True]
                        moved = entry & ~(layout.OFFSET_MASK | layout.COPIED) | new
                        patches.append((l1_offset + 8 * at, moved.to_bytes(8, "big")))
                        if plain and (new not in seen):
                            seen.add(new)
                            inner: list[tuple[int, bytes]] = []
                            yield from self._data_copies(table, inner)
                            fresh += [(offset - table + new, words) for offset, words in inner]
                elif plain and table not in seen:
                    seen.add(table)
                    yield from self._data_copies(table, patches)
                if len(patches) + len(fresh) > MOVES:
                    return

    def _data_copies(self, table: int, patches: list[tuple[int, bytes]]) -> Iterator[tuple[int, int, int]]:
        header = self._header
        width, bits = header.l2_entry_size, header.cluster_bits
        words = self._source.table(8, table, header.l2_entries * width // 8, pad=True)
        for at in range(0, len(words), width // 8):
            entry = words[at]
            if entry & layout.COMPRESSED:
                offset, length = compressed_place(header, entry & ~layout.COPIED)
                start = offset & ~511
                mask = (1 << layout.compressed_field_bits(bits)) - 1
            else:
                start = offset = entry & layout.OFFSET_MASK
                length, mask = header.cluster_size, layout.OFFSET_MASK | layout.COPIED
            if not offset or (start % header.cluster_size and not entry & layout.COMPRESSED):
                continue
            clusters = range(start >> bits, (offset + length - 1 >> bits) + 1)
            if (
                self.fixed.isdisjoint(clusters) and self.tables.isdisjoint(clusters)
            ) or self._survey.references.mending.far(offset, length):
                continue
            length += offset - start
            yield from self._copy(start, length, False)
            new = entry & ~mask | self._moved[start, length, False] + offset - start
            patches.append((table + 8 * at, new.to_bytes(8, "big")))

    def _copy(self, offset: int, length: int, table: bool) -> Iterator[tuple[int, int, int]]:
        """The place of a copy, which all that refer to the original, as a table or as data, share, unless they are too
        many."""
        bits = self._header.cluster_bits
        if (offset, length, table) not in self._moved or offset >> bits in self._survey.references.overflowed:
            new = self._moved[offset, length, table] = self._free.take(-(-length >> bits)) << bits
            yield offset, length, new
