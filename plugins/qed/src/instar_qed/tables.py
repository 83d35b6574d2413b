"""What L1 and L2 tables say, in runs. Source: docs/interop/qed_spec.rst of QEMU, "Tables"."""

from __future__ import annotations

from instar_qed import layout, limits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from instar_core.source import Source

    Entries = tuple[int, int, int, int]
    """index, count, first entry, step"""


def table_runs(source: Source, offset: int, first: int, last: int, stride: int) -> Iterator[Entries]:
    """Runs of the entries from `first` up to `last` of the table at `offset`, covering them in order.

    The step is `stride` or 0; an entry that names no place (0, and 1 for zeros) is never in a run with others. What
    lies past the end of the file reads as unallocated.
    """
    for start in range(first, last, limits.TABLE_PIECE):
        where = offset + layout.ENTRY * start
        count = min(limits.TABLE_PIECE, last - start)
        if where >= source.size:
            yield start, last - start, layout.UNALLOCATED, 0
            return
        for index, some, entry, step in source.runs(where, count, layout.ENTRY, stride, big=False, pad=True):
            if step and entry <= layout.ZERO:
                yield start + index, 1, entry, 0
                yield start + index + 1, some - 1, entry + step, step if some > 2 else 0
            else:
                yield start + index, some, entry, step
