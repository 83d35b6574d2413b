"""Writing content into an image that is there.

What a block holds already is overwritten in its place; new blocks go to the end of the file. Only when their content is
on stable storage does the block allocation table say that they are there: an entry is whole or not written, so no
log is needed.
"""

from __future__ import annotations

from instar_core.errors import ErrorKind, FormatError
from instar_core.limits import UNIT
from instar_core.types import Barrier, Copy, Geometry, Kind, Punch, Truncate
from instar_vhdx import limits
from instar_vhdx.bat import entries
from instar_vhdx.batputs import entry_puts
from instar_vhdx.begin import begun
from instar_vhdx.layout import MIB, OFFSET, STATE, Payload
from instar_vhdx.opening import open_disk
from instar_vhdx.room import used_end

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from instar_core.source import Image
    from instar_core.types import Edit, Run, Update
    from instar_vhdx.opening import Disk

ZEROS = (Payload.UNDEFINED, Payload.ZERO, Payload.UNMAPPED)


def update_edits(image: Image, request: Update, runs: Iterable[Run]) -> Iterator[Geometry | Edit]:
    """The runs are in their places.

    Over a parent content is taken in whole blocks. Raises FormatError (UNSUPPORTED) where these are longer than a unit
    may be, (CORRUPT) for blocks that lie where none may.
    """
    disk = open_disk(image)
    unit = disk.metadata.block if disk.metadata.parent else disk.metadata.logical
    if unit > UNIT:
        raise FormatError(f"blocks of {unit} bytes cannot be written over a parent", kind=ErrorKind.UNSUPPORTED)
    yield Geometry(unit, disk.metadata.size, zeros=True)
    yield from begun(image, disk, request.entropy, content=not request.keep)
    writing = Writing(disk)
    for run in runs:
        yield from writing.place(run)
    yield from writing.flush()


class Writing:
    """Places runs, which ascend, and keeps what the table has to say of them."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self._size = disk.metadata.block
        self._parent = disk.metadata.parent
        self._end = max(-(-disk.source.size // MIB) * MIB, used_end(disk, disk.blocks))
        self._last = (-1, 0)
        self._changed: list[tuple[int, int]] = []

    def place(self, run: Run) -> Iterator[Edit]:
        """The run's content in its blocks, new ones where there is none; zeros over a parent as blocks of zeros."""
        start, end, size = run.start, run.start + run.length, self._size
        first = start // size
        if self._last[0] == first:
            # What was put need not be what is read: the place of the last block is kept.
            stop = min(end, (first + 1) * size)
            yield from self._content(run, start, stop, self._last[1] + start % size)
            start = stop
        if start >= end:
            return
        for block, count, entry, step in entries(self._disk, start // size, -(-end // size)):
            state = entry & STATE
            if state in (Payload.FULLY_PRESENT, Payload.PARTIALLY_PRESENT):
                for each in range(count):
                    yield from self._there(run, block + each, entry + each * step, start, end)
            elif state != Payload.NOT_PRESENT and state not in ZEROS:
                raise FormatError(
                    f"VHDX BAT entry {block} has state {state}, which does not exist", kind=ErrorKind.CORRUPT
                )
            elif run.kind == Kind.DATA:
                for each in range(block, block + count):
                    yield from self._new(run, each, start, end)
            elif self._parent and state == Payload.NOT_PRESENT:
                for each in range(block, block + count):
                    yield from self._says(each, Payload.ZERO)

    def flush(self) -> Iterator[Edit]:
        """Content first, then what says that it is there."""
        yield Barrier()
        if self._changed:
            yield from entry_puts(self._disk, self._changed)
            yield Barrier()
            self._changed = []

    def _there(self, run: Run, block: int, entry: int, start: int, end: int) -> Iterator[Edit]:
        """A block that has a place: one that was partly there is wholly there afterwards."""
        place, size = entry & OFFSET, self._size
        low, high = max(start, block * size), min(end, (block + 1) * size)
        if place < MIB or any(place < last and first < place + size for first, last in self._disk.taken):
            raise FormatError(f"VHDX BAT entry {block} lies over metadata", kind=ErrorKind.CORRUPT, offset=place)
        yield from self._content(run, low, high, place + low - block * size)
        if entry & STATE == Payload.PARTIALLY_PRESENT:
            yield from self._says(block, place | Payload.FULLY_PRESENT)

    def _new(self, run: Run, block: int, start: int, end: int) -> Iterator[Edit]:
        """A new block at the end of the file, which reads as zeros."""
        size = self._size
        low, high = max(start, block * size), min(end, (block + 1) * size)
        place, self._end = self._end, self._end + size
        yield Truncate(self._end)
        yield Copy(low, place + low - block * size, high - low)
        self._last = block, place
        yield from self._says(block, place | Payload.FULLY_PRESENT)

    def _content(self, run: Run, low: int, high: int, offset: int) -> Iterator[Edit]:
        if run.kind == Kind.DATA:
            yield Copy(low, offset, high - low)
        else:
            yield Punch(offset, high - low)

    def _says(self, block: int, entry: int) -> Iterator[Edit]:
        """The table is to have this entry. A block that more content may follow into is the last one to be said."""
        if len(self._changed) >= limits.WAITING:
            yield from self.flush()
        self._changed.append((block, entry))
