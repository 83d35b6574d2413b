"""Content written into an image that is there: blocks that it has in place, others behind the last one."""

from __future__ import annotations

from instar_core.errors import ErrorKind, FormatError
from instar_core.types import Copy, Geometry, Kind, Punch, Truncate, Zero
from instar_vdi import limits
from instar_vdi.blocks import ABSENT, stretches
from instar_vdi.mapcommit import MapCommit
from instar_vdi.usage import Usage, opened

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from instar_core.source import Image, Source
    from instar_core.types import Edit, Run, Update
    from instar_vdi.layout import Header
    from instar_vdi.mapcommit import Entries


def updated(image: Image, request: Update, runs: Iterable[Run]) -> Iterator[Geometry | Edit]:
    """The runs are the content of their places. A stop leaves each block old or new.

    Raises FormatError (CORRUPT) for an image whose blocks have several owners.
    """
    if request.compress:
        raise FormatError("Compression not supported for this file format", kind=ErrorKind.UNSUPPORTED)
    header = opened(image.main)
    writing = Writing(image.main, header)
    yield Geometry(header.block_size, header.size, zeros=True)
    for run in runs:
        yield from writing.place(run)
        if writing.full:
            yield from writing.commit()
    yield from writing.commit()
    yield from writing.finish()


class Writing:
    """Runs become edits. `_end` is the byte after the last block."""

    __slots__ = ("_changes", "_end", "_header", "_map", "_source", "_usage")

    def __init__(self, source: Source, header: Header) -> None:
        self._source = source
        self._header = header
        self._usage = Usage(source, header)
        self._map = MapCommit(source)
        self._changes: list[Entries] = []
        self._end = source.size

    @property
    def full(self) -> bool:
        """Whether enough waits to be committed."""
        return len(self._changes) >= limits.WAITING

    def place(self, run: Run) -> Iterator[Edit]:
        """The disk holds what the run offers, once it is committed."""
        size, end = self._header.block_size, run.start + run.length
        first, last = run.start // size, -(-end // size)
        for block, count, index, step in stretches(self._source, self._header, first, last):
            length = min((block + count) * size, end) - block * size
            if index != ABSENT:
                yield from self._stored(run.kind, block, length, index, step)
            elif run.kind == Kind.DATA:
                yield from self._new(block, count, length)

    def commit(self) -> Iterator[Edit]:
        """All that was placed is content of the disk."""
        if self._changes and self._end > self._source.size:
            yield Truncate(self._end)
        yield from self._map.commit(self._changes, self._usage.count)
        self._changes = []

    def finish(self) -> Iterator[Edit]:
        """The file ends where its blocks do."""
        if self._map.far:
            yield Truncate(self._end)

    def _stored(self, kind: int, block: int, length: int, index: int, step: int) -> Iterator[Edit]:
        for start, offset, some in self._parts(block, length, index, step):
            yield Copy(start, offset, some) if kind == Kind.DATA else Punch(offset, some)

    def _new(self, block: int, count: int, length: int) -> Iterator[Edit]:
        size = self._header.block_size
        for index, some in self._usage.allocate(count):
            have = min(length, some * size)
            for start, offset, part in self._parts(block, have, index, 1):
                yield Copy(start, offset, part)
                rest = -part % size
                if rest and offset + part < self._source.size:
                    yield Zero(offset + part, rest)
            self._changes.append((block, some, index, 1))
            self._end = max(self._end, self._header.place(index + some - 1) + size)
            block, length = block + some, length - have

    def _parts(self, block: int, length: int, index: int, step: int) -> Iterator[tuple[int, int, int]]:
        """(start on the disk, offset in the file, bytes): as one where blocks lie end to end in the file."""
        size = self._header.block_size
        together = length if step and not self._header.block_extra else size
        for at in range(0, length, together):
            number = at // size
            yield block * size + at, self._header.place(index + step * number), min(together, length - at)
