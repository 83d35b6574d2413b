"""Writing a new QED image, empty or filled. Offsets and lengths are bytes unless they are called clusters.

The order in the file is header, L1 table, and then, as the content comes, each L2 table before the first of its
clusters. Source: docs/interop/qed_spec.rst of QEMU.
"""

from __future__ import annotations

from instar_core.types import Barrier, Copy, Geometry, Kind, Put, Truncate
from instar_qed import layout
from instar_qed.choices import chosen
from instar_qed.tablewriter import TableWriter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from instar_core.types import Create, Edit, Run
    from instar_qed.choices import Choices


def edits(request: Create, runs: Iterable[Run]) -> Iterator[Geometry | Edit]:
    """The image's Geometry, then the edits that place `runs`, a Barrier, and the header that makes it an image.

    Raises FormatError (USAGE) for options that cannot be had.
    """
    choices = chosen(request)
    yield Geometry(choices.cluster_size, choices.size, zeros=bool(choices.backing), overhead=choices.overhead)
    image = New(choices)
    yield from image.begin()
    for run in runs:
        yield from image.place(run)
    yield from image.end()
    yield Barrier()
    yield Put(0, heading(choices))


class New:
    """An image in the making; `_next` is the offset of the first byte that nothing has."""

    __slots__ = ("_choices", "_l1", "_l2", "_next", "_table")

    def __init__(self, choices: Choices) -> None:
        self._choices = choices
        self._l1 = TableWriter(choices.cluster_size)
        self._l2 = TableWriter(0)
        self._table = -1
        self._next = choices.cluster_size + choices.table_bytes

    def begin(self) -> Iterator[Edit]:
        """The file reads as zeros wherever nothing is put."""
        yield Truncate(0)
        yield Truncate(self._next)

    def place(self, run: Run) -> Iterator[Edit]:
        """The disk holds what the run offers; zeros take no place."""
        size, entries = self._choices.cluster_size, self._choices.entries
        start, length = run.start, run.length
        while length:
            cluster = start // size
            table, index = divmod(cluster, entries)
            if table != self._table:
                yield from self._open(table)
            count = min(-(-length // size), entries - index)
            piece = min(length, count * size)
            if run.kind == Kind.DATA:
                yield Copy(start, self._next, piece)
                yield from self._l2.record(index, count, self._next, size)
                self._next += count * size
            else:
                yield from self._l2.record(index, count, layout.ZERO, 0)
            start += piece
            length -= piece

    def end(self) -> Iterator[Edit]:
        """What is left of the tables is put; the file ends with a whole cluster."""
        yield from self._l2.flush()
        yield from self._l1.flush()
        yield Truncate(self._next)

    def _open(self, table: int) -> Iterator[Edit]:
        """The next entries are of this L2 table, which gets its place."""
        yield from self._l2.flush()
        self._table = table
        self._l2 = TableWriter(self._next)
        yield from self._l1.record(table, 1, self._next, 0)
        self._next += self._choices.table_bytes


def heading(choices: Choices) -> bytes:
    """The header, with the backing file's name behind it."""
    features = 0
    if choices.backing:
        features = layout.BACKING_FILE | (layout.BACKING_FORMAT_NO_PROBE if choices.backing_is_raw else 0)
    header = layout.HEADER.pack(
        layout.MAGIC,
        choices.cluster_size,
        choices.table_size,
        1,
        features,
        0,
        0,
        choices.cluster_size,
        choices.size,
        layout.HEADER.size if choices.backing else 0,
        len(choices.backing),
    )
    return header + choices.backing
