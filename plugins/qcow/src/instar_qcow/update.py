"""Content written into an image that is there: clusters that it has in place, others at the end of the file."""

from __future__ import annotations

from instar_core.errors import ContractViolation, ErrorKind, FormatError
from instar_core.types import Barrier, Coding, Copy, Geometry, Kind, Punch
from instar_qcow import encryption, layout
from instar_qcow.growing import Growing
from instar_qcow.writable import writable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from instar_core.source import Image, Source
    from instar_core.types import Edit, Run, Update
    from instar_qcow.writable import Writable


def updated(image: Image, request: Update, runs: Iterable[Run]) -> Iterator[Geometry | Edit]:
    """The runs are the content of their places. A stop leaves each cluster old or new, and leaks.

    A compressed cluster gets a new place whatever is written to it, and the bytes that it had are left.
    Raises FormatError: CORRUPT for an image in which things lie over one another, USAGE where it is encrypted and the
    runs are to be compressed.
    """
    opened = writable(image.main)
    header = opened.header
    if header.encrypted and request.compress:
        raise FormatError("Compression and encryption not supported at the same time", kind=ErrorKind.USAGE)
    yield Geometry(
        header.cluster_size,
        header.size,
        zeros=True,
        coding=Coding("deflate-12", header.cluster_size) if request.compress else None,
        cipher=encryption.coding() if header.encrypted else None,
    )
    writing = Writing(image.main, opened, request.opaque)
    for run in runs:
        yield from writing.place(run)
        if writing.growing.full:
            yield from writing.growing.commit()
    yield from writing.growing.commit()
    yield Barrier()


class Writing:
    """Runs become edits."""

    __slots__ = ("_explicit", "_header", "growing")

    def __init__(self, source: Source, opened: Writable, opaque: bool) -> None:
        self._header = opened.header
        self._explicit = opaque or bool(opened.header.backing_file)
        self.growing = Growing(source, opened)

    def place(self, run: Run) -> Iterator[Edit]:
        """The disk holds what the run offers, once it is committed."""
        if run.coding:
            yield self._compressed(run)
            return
        # Encrypted zeros are content: only the host can make them.
        data = run.kind == Kind.DATA or self._header.encrypted
        bits, end = self._header.cluster_bits, run.start + run.length
        for cluster, count, kind, offset, stored in self.growing.pieces(run.start >> bits, -(-run.length >> bits)):
            start = cluster << bits
            length = min(count << bits, end - start)
            if kind == Kind.DATA and not stored:
                yield Copy(start, offset, length) if data else Punch(offset, length)
            elif run.kind == Kind.ZERO and not self._explicit:
                if stored:
                    self.growing.set(cluster, count, 0, 0)
            else:
                place = self.growing.allocate(count << bits)
                self.growing.set(cluster, count, place, 1 << bits)
                if data:
                    yield Copy(start, place, length)

    def _compressed(self, run: Run) -> Copy:
        size, stored = self._header.cluster_size, run.stored
        if not 0 < stored < size or run.start % size or run.length > size:
            raise ContractViolation(f"a compressed run of {stored} bytes at {run.start} is not a cluster's")
        place = self.growing.allocate(stored, aligned=False)
        shift = layout.length_shift(self._header.cluster_bits)
        if place + stored > 1 << shift:
            raise FormatError("The image is too large for compressed clusters", kind=ErrorKind.LIMIT)
        self.growing.set(run.start // size, 1, layout.COMPRESSED | stored << shift | place, 0)
        return Copy(run.start, place, stored)
