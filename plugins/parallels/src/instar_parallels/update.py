"""Content written into an image that is there: clusters that it has in place, others behind the last one."""

from __future__ import annotations

from array import array
from sys import byteorder

from instar_core import limits as core_limits
from instar_core.errors import ErrorKind, FormatError
from instar_core.types import Barrier, Copy, Geometry, Kind, Punch, Put, Truncate, Zero
from instar_parallels import limits
from instar_parallels.check import image_end
from instar_parallels.clusters import Where, stretches
from instar_parallels.layout import HEADER
from instar_parallels.writable import aligned, bare, begun, writable
from instar_parallels.write import unit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from instar_core.source import Image, Source
    from instar_core.types import Edit, Run, Update
    from instar_parallels.opening import Disk

    Entries = tuple[int, int, int]
    """First entry, how many, where the first of the clusters lies; they follow one another."""

ENTRIES = core_limits.PUT // 4


def updated(image: Image, request: Update, runs: Iterable[Run]) -> Iterator[Geometry | Edit]:
    """The runs are the content of their places. A stop leaves each cluster old or new, and leaks at the file's end.

    Raises FormatError (CORRUPT) for an image that must be repaired first.
    """
    if request.compress:
        raise FormatError("Compression not supported for this file format", kind=ErrorKind.UNSUPPORTED)
    disk = writable(image.main)
    yield Geometry(unit(disk.cluster), disk.size, zeros=True)
    yield from begun(disk)
    writing = Writing(image.main, bare(disk))
    for run in runs:
        yield from writing.place(run)
        if writing.full:
            yield from writing.commit()
    yield from writing.commit()
    if disk.extension:
        yield Barrier()
        yield from writing.cut()
    yield Barrier()


class Writing:
    """Runs become edits. `_end` is the byte after the last cluster, `_last` the entry made last, `_at` its place."""

    __slots__ = ("_at", "_changes", "_disk", "_end", "_last", "_source")

    def __init__(self, source: Source, disk: Disk) -> None:
        self._source = source
        self._disk = disk
        self._end = aligned(disk, image_end(source, disk))
        self._changes: list[Entries] = []
        self._last = -1
        self._at = 0

    @property
    def full(self) -> bool:
        """Whether enough waits to be committed."""
        return len(self._changes) >= limits.WAITING

    def place(self, run: Run) -> Iterator[Edit]:
        """The disk holds what the run offers, once it is committed."""
        size, start, end = self._disk.cluster, run.start, run.start + run.length
        if start // size == self._last:
            # The rest of a cluster that an earlier run began.
            some = min(end, (self._last + 1) * size) - start
            yield from self._stored(run.kind, start, self._at + start % size, some)
            start += some
        if start == end:
            return
        for entry, count, where, offset, step in stretches(self._source, self._disk, start // size, -(-end // size)):
            low, high = max(start, entry * size), min(end, (entry + count) * size)
            if where == Where.INSIDE:
                if step or count == 1:
                    yield from self._stored(run.kind, low, offset + low - entry * size, high - low)
            elif run.kind == Kind.DATA:
                yield from self._new(entry, count, low, high)

    def commit(self) -> Iterator[Edit]:
        """All that was placed is content of the disk once what follows is on stable storage."""
        if self._changes:
            yield Truncate(max(self._end, self._source.size))
        yield Barrier()
        for entry, count, place in self._changes:
            yield from puts(self._disk, entry, count, place)
        self._changes = []

    def cut(self) -> Iterator[Edit]:
        """The file ends where its last cluster does."""
        if self._end < self._source.size:
            yield Truncate(self._end)

    def _stored(self, kind: int, start: int, offset: int, length: int) -> Iterator[Edit]:
        yield Copy(start, offset, length) if kind == Kind.DATA else Punch(offset, length)

    def _new(self, entry: int, count: int, low: int, high: int) -> Iterator[Edit]:
        size, place = self._disk.cluster, self._end
        first, last = place + low - entry * size, place + high - entry * size
        self._end = place + count * size
        yield from self._blank(place, first)
        yield Copy(low, first, high - low)
        yield from self._blank(last, self._end)
        if self._changes and sum(self._changes[-1][:2]) == entry:
            before, some, at = self._changes[-1]
            if at + some * size == place:
                self._changes.pop()
                entry, count, place = before, some + count, at
        self._changes.append((entry, count, place))
        self._last, self._at = entry + count - 1, self._end - size

    def _blank(self, start: int, end: int) -> Iterator[Edit]:
        """What the file has there already, left over, becomes zeros; behind its end it will be."""
        end = min(end, self._source.size)
        if start < end:
            yield Zero(start, end - start)


def puts(disk: Disk, entry: int, count: int, place: int) -> Iterator[Put]:
    """BAT entries that lead to clusters which follow one another. Raises FormatError (LIMIT) past what they can say."""
    step = disk.cluster // disk.unit
    if place // disk.unit + count * step >= limits.FACTOR:
        raise FormatError("The file is too large for its BAT", kind=ErrorKind.LIMIT)
    for at in range(0, count, ENTRIES):
        some, first = min(ENTRIES, count - at), place // disk.unit + at * step
        values = array("I", range(first, first + some * step, step))
        if byteorder == "big":
            values.byteswap()
        yield Put(HEADER.size + 4 * (entry + at), values.tobytes())
