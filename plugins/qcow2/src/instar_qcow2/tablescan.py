"""Scanning the large tables of an image: L1 tables, the refcount table, bitmap tables."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from instar_core.source import Source

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
