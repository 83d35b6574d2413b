"""Checking the structure of a qcow image. qemu-img knows no check for it, so the words are ours.

Corruptions: tables or clusters where they cannot lie, past the end of the file, or over one another. Leaks: clusters of
the file that nothing refers to, as are left where compressed clusters were written anew.
"""

from __future__ import annotations

from instar_core.ranges import Ranges
from instar_core.types import NOWHERE, Finding, Kind, Severity, Tally
from instar_qcow import layout, limits
from instar_qcow.header import read_header
from instar_qcow.tables import BROKEN, END, entries, tables

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from instar_core.source import Image, Source
    from instar_qcow.header import Header


def findings(image: Image) -> Iterator[Finding | Tally]:
    """Every finding, then the counts in clusters."""
    walk = Walk(image.main, read_header(image.main))
    yield from walk.metadata()
    yield from walk.content()
    yield from walk.places()
    yield walk.tally()


class Walk:
    """One walk over all tables: what was in use, and counts of clusters.

    `_next` is where a cluster would follow the one before it.
    """

    __slots__ = ("_allocated", "_compressed", "_fragmented", "_header", "_l1_end", "_next", "_source", "_used")

    def __init__(self, source: Source, header: Header) -> None:
        self._source = source
        self._header = header
        self._l1_end = header.l1_table_offset + 8 * header.l1_size
        self._used = Ranges(limits.CHECK_RUNS)
        self._allocated = 0
        self._compressed = 0
        self._fragmented = 0
        self._next = NOWHERE

    def metadata(self) -> Iterator[Finding]:
        """Header, backing file's name and L1 table."""
        header = self._header
        self._used.add(0, layout.HEADER.size)
        if header.backing_file:
            self._used.add(header.backing_file_offset, len(header.backing_file))
        end = self._l1_end
        self._used.add(header.l1_table_offset, end - header.l1_table_offset)
        if end > self._source.size:
            yield _corruption("ERROR the L1 table does not lie inside the file", header.l1_table_offset)

    def content(self) -> Iterator[Finding]:
        """L2 tables and what they refer to."""
        size = self._header.l2_bytes
        for table, count, offset in tables(self._source, self._header, 0, self._header.l1_size):
            if not offset:
                continue
            inside = min(count, max(0, (self._source.size - offset) // size))
            if inside < count:
                where = offset + inside * size
                text = f"ERROR the L2 table {table + inside} at {where:#x} does not lie inside the file"
                yield _corruption(text, where, count - inside)
            if offset <= END:
                self._used.add(offset, inside * size)
                yield from self._tables(table, count, offset)

    def _tables(self, table: int, count: int, offset: int) -> Iterator[Finding]:
        first = table << self._header.l2_bits
        end = min(table + count << self._header.l2_bits, self._header.clusters)
        for at in range(first, end, limits.L2_PIECE):
            here = offset + 8 * (at - first)
            if here >= self._source.size:
                return
            for found in entries(self._source, self._header, at, min(limits.L2_PIECE, end - at), here):
                if found[2] == Kind.DATA:
                    yield from self._clusters(*found)
                elif found[2] == BROKEN:
                    text = f"ERROR the L2 entry of cluster {found[0]} makes no sense"
                    yield _corruption(text, found[3], found[1])

    def _clusters(self, cluster: int, count: int, kind: int, place: int, stored: int) -> Iterator[Finding]:
        """Clusters that follow one another in the file. The last one of a file may be cut short."""
        size, left = self._header.cluster_size, self._source.size - place
        self._allocated += count
        # As in qemu's checks, a compressed cluster is always a fragment.
        self._compressed += 1 if stored else 0
        self._fragmented += 1 if stored or self._next not in (NOWHERE, place) else 0
        self._next = place + (stored or count * size)
        inside = int(stored <= left) if stored else min(count, max(0, -(-left // size)))
        if inside:
            self._used.add(place, stored or inside * size)
        if inside < count:
            where = place + inside * size
            text = f"ERROR cluster {cluster + inside} at {where:#x} does not lie inside the file"
            yield _corruption(text, where, count - inside)

    def places(self) -> Iterator[Finding]:
        """Stretches that overlap, and clusters of the file that nothing refers to."""
        size, reach = self._header.cluster_size, 0
        if not self._used.full:
            for start, length, before in self._used.sorted():
                if start < before:
                    shared = min(before, start + length) - start
                    yield _corruption(f"ERROR {shared} bytes at {start:#x} are in use twice", start, -(-shared // size))
                yield from self._leaks(before, min(start, self._source.size))
                reach = max(before, start + length)
        if self._used.full:
            yield Finding(Severity.NOTE, "The image is too fragmented to look for overlaps and leaks")
        else:
            yield from self._leaks(reach, self._source.size)

    def _leaks(self, start: int, end: int) -> Iterator[Finding]:
        """Whole clusters of the file in [start, end)."""
        size = self._header.cluster_size
        if start == self._l1_end:
            # The L1 table takes whole sectors, wherever it begins.
            start += -(start - self._header.l1_table_offset) % layout.SECTOR
        first, last = -(-start // size), end // size
        if last > first:
            text = f"Leaked cluster {first}" if last == first + 1 else f"Leaked clusters {first} to {last - 1}"
            yield Finding(Severity.LEAK, text, offset=first * size, count=last - first)

    def tally(self) -> Tally:
        """The counts, once all is seen."""
        return Tally(
            total=self._header.clusters,
            allocated=self._allocated,
            fragmented=self._fragmented,
            compressed=self._compressed,
            end=self._source.size,
        )


def _corruption(text: str, offset: int, count: int = 1) -> Finding:
    return Finding(Severity.CORRUPTION, text, offset=offset, count=count)
