"""Scanning the tables of an image: L1 and L2 tables, the refcount table, bitmap tables."""

from __future__ import annotations

from itertools import chain

from instar_core.source import arithmetic_runs, join

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from instar_core.source import Source
    from instar_qcow2.header import Header

    Run = tuple[int, int, int, int]
    """index, count, first entry, step"""

CHUNK = 1 << 16
"""Entries looked at together (512 KiB), which bounds the memory that a table of 32 MiB takes."""


def equal_runs(source: Source, offset: int, entries: int) -> Iterator[tuple[int, int, int]]:
    """(index, count, entry) of runs of equal 64-bit entries of a table at `offset`, in order, without those of 0.

    What lies past the end of the file reads as 0.
    """
    for start in range(0, entries, CHUNK):
        count = min(CHUNK, entries - start)
        if offset + 8 * start >= source.size:
            return
        for index, some, entry, _ in source.runs(offset + 8 * start, count, 8, 0, pad=True):
            if entry:
                yield start + index, some, entry


def l2_runs(
    source: Source, header: Header, offset: int, count: int, *, ignored: int = 0
) -> tuple[Iterator[Run], bytes | None]:
    """Arithmetic runs of L2 entries at `offset`, as Source.runs gives them, without the bits that are `ignored`.

    Besides all their bytes, where they are entries of 64 bits of more than one run and no external data file belongs to
    the image: such a table can be looked at as a whole. Else None. What lies past the end of the file reads as 0.
    """
    width = header.l2_entry_size
    stride = header.cluster_size << 8 * (width - 8)
    data = source.read(offset, width * count, pad=True)
    runs = arithmetic_runs(data, count, width, stride, (1 << 8 * width) - 1 & ~ignored, "big")
    head = next(runs)
    whole = head[1] < count and width == 8 and not header.data_file
    return join(chain((head,), runs), stride), data if whole else None
