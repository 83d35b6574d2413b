"""Content written into an image that is there: clusters that it has in place, others at the end of the file."""

from __future__ import annotations

from instar_core.errors import ErrorKind, FormatError
from instar_core.types import Barrier, Copy, Geometry, Kind, Punch, Zero
from instar_qed import layout
from instar_qed.growing import Growing
from instar_qed.writable import begun, sound_header

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from instar_core.source import Image, Source
    from instar_core.types import Edit, Run, Update
    from instar_qed.header import Header


def edits(image: Image, request: Update, runs: Iterable[Run]) -> Iterator[Geometry | Edit]:
    """The runs are the content of their places. A stop leaves each cluster old or new, and leaks at the file's end.

    Raises FormatError (CORRUPT) for an image whose clusters have several owners.
    """
    if request.compress:
        raise FormatError("Compression not supported for this file format", kind=ErrorKind.UNSUPPORTED)
    header = sound_header(image.main)
    yield Geometry(header.cluster_size, header.image_size, zeros=True)
    yield from begun(header)
    writing = Writing(image.main, header, request.opaque)
    for run in runs:
        yield from writing.place(run)
        if writing.growing.full:
            yield from writing.growing.commit()
    yield from writing.growing.commit()
    yield Barrier()


class Writing:
    """Runs become edits."""

    __slots__ = ("_explicit", "_header", "_source", "growing")

    def __init__(self, source: Source, header: Header, opaque: bool) -> None:
        self._source = source
        self._header = header
        self._explicit = opaque or bool(header.backing_filename)
        self.growing = Growing(source, header)

    def place(self, run: Run) -> Iterator[Edit]:
        """The disk holds what the run offers, once it is committed."""
        size, end = self._header.cluster_size, run.start + run.length
        for cluster, count, entry, _ in self.growing.pieces(run.start // size, -(-run.length // size)):
            start = cluster * size
            length = min(count * size, end - start)
            if entry > layout.ZERO:
                yield Copy(start, entry, length) if run.kind == Kind.DATA else Punch(entry, length)
            elif run.kind == Kind.DATA:
                yield from self.growing.mapped(cluster)
                offset = self.growing.allocate(count)
                yield Copy(start, offset, length)
                rest = offset + length
                if length < count * size and rest < self._source.size:
                    yield Zero(rest, count * size - length)
                yield from self.growing.set(cluster, count, offset, size)
            elif self._explicit and entry != layout.ZERO:
                yield from self.growing.set(cluster, count, layout.ZERO, 0)
