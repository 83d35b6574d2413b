"""L2 tables under construction, from ascending runs of clusters. Source: docs/interop/qcow2.txt of QEMU, "L2 table"."""

from __future__ import annotations

import sys
from array import array

from instar_qcow2 import layout

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

ALLOCATED = (1 << layout.SUBCLUSTERS) - 1
"""Subcluster bitmap of a cluster all of whose subclusters are stored."""
ZEROS = ALLOCATED << layout.SUBCLUSTERS
"""Subcluster bitmap of a cluster that reads as zeros."""


class Tables:
    """The table being filled, as runs of entries, so that an even table costs no memory; and those that are complete.

    `ready` holds (index, bytes) of complete tables that nobody has taken yet; tables without any entry are left out.
    """

    __slots__ = ("_entries", "_runs", "_table", "_wide", "ready")

    def __init__(self, entries: int, *, extended: bool) -> None:
        self._entries = entries
        self._wide = 2 if extended else 1
        self._table = 0
        self._runs: list[list[int]] = []
        self.ready: list[tuple[int, bytes]] = []

    def add(self, cluster: int, count: int, entry: int, step: int, bitmap: int = 0) -> None:
        """Clusters from `cluster` on have the entries entry, entry + step, … All lie in one table, not before the last.

        The last cluster added may be added once more alone: the entry is replaced unless it is 0, the bitmaps join.
        """
        table, at = divmod(cluster, self._entries)
        if table != self._table:
            self.close()
            self._table = table
        if self._runs:
            last = self._runs[-1]
            start, have, first, by, bits = last
            if at == start + have - 1:
                old = first + by * (have - 1)
                if have == 1:
                    self._runs.pop()
                else:
                    last[1] -= 1
                entry, bitmap = entry or old, bits | bitmap
            elif at == start + have and bits == bitmap and entry == first + step * have and (have == 1 or by == step):
                last[1], last[3] = have + count, step
                return
        self._runs.append([at, count, entry, step, bitmap])

    def close(self) -> None:
        """The table being filled is complete."""
        if self._runs:
            self.ready.append((self._table, b"".join(self._pieces())))
            self._runs = []

    def _pieces(self) -> Iterator[bytes]:
        at = 0
        for start, count, entry, step, bitmap in self._runs:
            if start > at:
                yield bytes(8 * self._wide * (start - at))
            yield run_bytes(count, entry, step, bitmap if self._wide > 1 else None)
            at = start + count
        if at < self._entries:
            yield bytes(8 * self._wide * (self._entries - at))


def run_bytes(count: int, entry: int, step: int, bitmap: int | None = None) -> bytes:
    """Big-endian table entries entry, entry + step, …, each followed by `bitmap` where one is given."""
    if count == 1 or not step:
        word = entry.to_bytes(8, "big")
        return (word if bitmap is None else word + bitmap.to_bytes(8, "big")) * count
    made = array("Q", range(entry, entry + step * count, step))
    if bitmap is not None:
        pairs = array("Q", (bitmap,)) * (2 * count)
        pairs[::2] = made
        made = pairs
    if sys.byteorder == "little":
        made.byteswap()
    return made.tobytes()
