"""Writing a new VHDX image.

From the file's start on: headers (1 MiB), log, block allocation table, metadata (1 MiB), room that qemu-img leaves too,
blocks. Blocks follow one another in the order of the disk, so the table can be put while content comes.
"""

from __future__ import annotations

from instar_core.types import Barrier, Copy, Geometry, Kind, Punch, Put, Truncate
from instar_vhdx import limits
from instar_vhdx.choices import SECTOR, Choices
from instar_vhdx.heads import header_bytes, identifier, metadata_region, random_guid, region_table
from instar_vhdx.layout import HEADER_MAGIC, HEADERS, NO_GUID, REGION_TABLES, Header, Payload
from instar_vhdx.tablewriter import TableWriter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from instar_core.types import Edit, Run

MIB = limits.MIB
ROOM = 4 * MIB
"""Bytes between metadata and blocks, as in qemu: room for metadata to grow into."""


class Blocks:
    """Where blocks go, and how far the file is filled."""

    __slots__ = ("_choices", "_last", "_table", "end", "next")

    def __init__(self, choices: Choices, table: TableWriter, start: int) -> None:
        self._choices = choices
        self._table = table
        self._last = -1
        self.next = start
        self.end = start

    def place(self, run: Run) -> Iterator[Edit]:
        """The run's content in its blocks; zeros, wanted only over a parent, as blocks of zeros."""
        size = self._choices.block
        first, stop = run.start // size, -(-(run.start + run.length) // size)
        if run.kind != Kind.DATA:
            yield from self._table.record(first, stop - first, Payload.ZERO, 0)
            return
        if first == self._last:
            offset = self.next - size + run.start % size
            first += 1
        else:
            offset = self.next + run.start % size
        if stop > first:
            yield from self._table.record(first, stop - first, self.next | Payload.FULLY_PRESENT, size)
            self.next += (stop - first) * size
            self._last = stop - 1
        yield from self.put(run, offset)

    def put(self, run: Run, offset: int) -> Iterator[Edit]:
        """The run's content at its place, which lies behind all before; what is left out between reads as zeros."""
        if offset > self.end:
            yield Punch(self.end, offset - self.end)
        yield Copy(run.start, offset, run.length)
        self.end = offset + run.length


def create_edits(choices: Choices, runs: Iterable[Run]) -> Iterator[Geometry | Edit]:
    """The new image: fixed, dynamic, or differencing. Until the last edit the file is none of this format."""
    table_at = MIB + choices.log
    metadata_at = table_at + choices.table
    start = metadata_at + MIB + ROOM
    yield Geometry(choices.unit, choices.size, zeros=bool(choices.parent), overhead=start, measure_unit=choices.block)
    yield Truncate(0)
    yield Truncate(start)
    yield Punch(0, start)
    default = Payload.ZERO if choices.zero and not choices.parent else Payload.NOT_PRESENT
    table = TableWriter(choices, table_at, default)
    blocks = Blocks(choices, table, start)
    if choices.fixed:
        yield from table.record(0, choices.blocks, start | Payload.FULLY_PRESENT, choices.block)
        blocks.next = start + choices.blocks * choices.block
    for run in runs:
        if choices.fixed:
            yield from blocks.put(run, start + run.start)
        else:
            yield from blocks.place(run)
    yield from table.end()
    yield Truncate(blocks.next)
    if blocks.next > blocks.end:
        yield Punch(blocks.end, blocks.next - blocks.end)
    entropy = choices.entropy
    regions = region_table((table_at, choices.table), (metadata_at, MIB))
    for place in REGION_TABLES:
        yield Put(place, regions)
    yield Put(metadata_at, metadata_region(choices, random_guid(entropy[32:48]), SECTOR))
    header = Header(
        magic=HEADER_MAGIC,
        checksum=0,
        sequence=int.from_bytes(entropy[48:52], "little"),
        file_write_guid=random_guid(entropy[:16]),
        data_write_guid=random_guid(entropy[16:32]),
        log_guid=NO_GUID,
        log_version=0,
        version=1,
        log_length=choices.log,
        log_offset=MIB,
    )
    for number, place in enumerate(HEADERS):
        yield Put(place, header_bytes(header._replace(sequence=header.sequence + number)))
    yield Barrier()
    yield Put(0, identifier())
