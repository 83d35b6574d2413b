"""Writing streamOptimized: compressed grains, tables and directory in the order in which they become known.

Virtual Disk Format 5.0, "Stream-Optimized Compressed": markers before everything, the directory at the end, where the
footer, a second header, tells its place. Offsets are sectors unless they are called bytes.
"""

from __future__ import annotations

import zlib
from array import array

from instar_core.errors import ContractViolation
from instar_core.types import Barrier, Coding, Copy, Geometry, Kind, Put, Truncate
from instar_vmdk.layout import (
    DEFLATE,
    GD_AT_END,
    HOSTED,
    HOSTED_MAGIC,
    MARKER,
    METADATA_MARKER,
    NEWLINES,
    SECTOR,
    ZEROED,
    HeaderFlag,
    HostedHeader,
    MarkerType,
)
from instar_vmdk.limits import EMBEDDED
from instar_vmdk.tablewriter import ENTRIES, GRAIN, TABLE, addressed, layout, little
from instar_vmdk.text import descriptor_text, embedded, extent_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from instar_core.types import Edit, Run
    from instar_vmdk.choices import Choices

UNIT = GRAIN * SECTOR
OVERHEAD = GRAIN
"""Sectors before the first marker: header and descriptor, and the rest of a grain."""
CHUNK = 1 << 16
"""Directory entries that are kept together; a chunk exists once one of them is set."""


class Stream:
    """The tail of the file: what is appended, and what must be remembered of it."""

    __slots__ = ("_chunks", "_number", "_table", "_tables", "_zeroed", "next")

    def __init__(self, size: int, zeroed: bool) -> None:
        self._tables = layout(size).tables
        self._zeroed = zeroed
        self._chunks: dict[int, array[int]] = {}
        self._table = array("I")
        self._number = -1
        self.next = OVERHEAD

    def place(self, run: Run) -> Iterator[Edit]:
        """The run's grains: one that the host has encoded, or any number of zeros."""
        grain = run.start // UNIT
        if run.kind == Kind.DATA:
            if run.coding != 1 or run.stored <= 0:
                raise ContractViolation("a stream-optimized image takes encoded grains only")
            yield from self._switch(grain)
            at = addressed(self.next)
            yield Put(at * SECTOR, MARKER.pack(run.start // SECTOR, run.stored))
            yield Copy(run.start, at * SECTOR + MARKER.size, run.stored)
            self._record(grain, run.stored)
            return
        for index in range(-(-run.length // UNIT)):
            yield from self._switch(grain + index)
            if self._zeroed:
                self._table[(grain + index) % ENTRIES] = ZEROED
                continue
            stored = zlib.compress(bytes(min(UNIT, run.length - index * UNIT)))
            marker = MARKER.pack((grain + index) * GRAIN, len(stored))
            yield Put(addressed(self.next) * SECTOR, marker + stored)
            self._record(grain + index, len(stored))

    def end(self) -> Iterator[Edit]:
        """The last table and the directory, each after its marker. Afterwards `next` is the footer's marker."""
        yield from self._flush()
        sectors = -(-self._tables * 4 // SECTOR)
        yield Put(self.next * SECTOR, METADATA_MARKER.pack(sectors, 0, MarkerType.GRAIN_DIRECTORY))
        for number, chunk in self._chunks.items():
            yield Put((self.next + 1) * SECTOR + number * CHUNK * 4, little(chunk))
        self.next += 1 + sectors

    def _record(self, grain: int, stored: int) -> None:
        self._table[grain % ENTRIES] = self.next
        self.next += -(-(MARKER.size + stored) // SECTOR)

    def _switch(self, grain: int) -> Iterator[Edit]:
        number = grain // ENTRIES
        if number != self._number:
            yield from self._flush()
            self._number = number
            self._table = array("I", bytes(4 * ENTRIES))

    def _flush(self) -> Iterator[Edit]:
        if not self._table:
            return
        marker = METADATA_MARKER.pack(TABLE, 0, MarkerType.GRAIN_TABLE)
        yield Put(self.next * SECTOR, marker + little(self._table))
        chunk, index = divmod(self._number, CHUNK)
        if chunk not in self._chunks:
            self._chunks[chunk] = array("I", bytes(4 * min(CHUNK, self._tables - chunk * CHUNK)))
        self._chunks[chunk][index] = addressed(self.next + 1)
        self.next += 1 + TABLE
        self._table = array("I")


def stream_edits(choices: Choices, runs: Iterable[Run]) -> Iterator[Geometry | Edit]:
    """A stream-optimised image in one file. Until the last edit its first sector is empty."""
    stream = Stream(choices.size, choices.zeroed)
    text = embedded(descriptor_text(choices, [extent_line("SPARSE", choices.size // SECTOR, choices.name)]))
    tables = layout(choices.size).tables
    yield Geometry(
        UNIT,
        choices.size,
        zeros=bool(choices.backing),
        coding=Coding("zlib", UNIT),
        coding_required=True,
        overhead=(OVERHEAD + 5 + tables * (1 + TABLE) + -(-tables * 4 // SECTOR)) * SECTOR,
    )
    yield Truncate(0)
    yield Truncate(OVERHEAD * SECTOR)
    for run in runs:
        yield from stream.place(run)
    yield from stream.end()
    directory = stream.next - -(-tables * 4 // SECTOR)
    footer = METADATA_MARKER.pack(1, 0, MarkerType.FOOTER) + _header(choices, directory)
    yield Put(stream.next * SECTOR, footer + METADATA_MARKER.pack(0, 0, MarkerType.END_OF_STREAM))
    yield Put(SECTOR, text)
    yield Barrier()
    yield Put(0, _header(choices, GD_AT_END))


def _header(choices: Choices, directory: int) -> bytes:
    flags = HeaderFlag.NEWLINES | HeaderFlag.COMPRESSED | HeaderFlag.MARKERS
    return HOSTED.pack(
        *HostedHeader(
            magic=HOSTED_MAGIC,
            version=3,
            flags=flags | (HeaderFlag.ZEROED if choices.zeroed else 0),
            capacity=choices.size // SECTOR,
            grain_size=GRAIN,
            descriptor_offset=1,
            descriptor_size=EMBEDDED,
            num_gtes=ENTRIES,
            rgd_offset=0,
            gd_offset=directory,
            overhead=OVERHEAD,
            unclean=0,
            newlines=NEWLINES,
            compress=DEFLATE,
        )
    )
