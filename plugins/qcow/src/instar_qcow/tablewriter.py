"""The tables of an image under construction. L2 tables complete in ascending order, each once."""

from __future__ import annotations

from array import array
from sys import byteorder

from instar_core import limits as core
from instar_core.types import Put
from instar_qcow import layout, limits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from instar_qcow.plan import Plan

NEAR = 4096
"""Entries of the L1 table without an L2 table that are rather put than skipped."""


class L2Tables:
    """Entries of clusters, in ascending order, gathered into tables. `ready` are those that are complete."""

    __slots__ = ("_entries", "_index", "_plan", "ready")

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._index = -1
        self._entries: array[int] = array("Q")
        self.ready: list[tuple[int, bytes]] = []

    @property
    def full(self) -> bool:
        """Whether the complete tables are enough to be put."""
        return len(self.ready) * self._plan.l2_bytes >= limits.TABLES

    def add(self, cluster: int, count: int, entry: int, step: int) -> None:
        """Clusters `cluster` on have these entries, each `step` more than the one before."""
        per = 1 << self._plan.l2_bits
        while count:
            index, inside = divmod(cluster, per)
            if index != self._index:
                self.close()
                self._index = index
                self._entries = array("Q", bytes(self._plan.l2_bytes))
            some = min(count, per - inside)
            values = range(entry, entry + some * step, step) if step else (entry,)
            self._entries[inside : inside + some] = array("Q", values)
            cluster, count, entry = cluster + some, count - some, entry + some * step

    def close(self) -> None:
        """The table at hand is complete."""
        if self._index >= 0:
            self.ready.append((self._index, big(self._entries)))
        self._index = -1


class L1Table:
    """Entries of the L1 table, gathered and put. What is never recorded stays as it is: zeros."""

    __slots__ = ("_base", "_entries", "_offset")

    def __init__(self, offset: int) -> None:
        self._offset = offset
        self._base = 0
        self._entries: array[int] = array("Q")

    def record(self, index: int, place: int) -> Iterator[Put]:
        """The L2 table `index` lies at `place`."""
        gap = index - self._base - len(self._entries)
        if not self._entries or gap > NEAR or 8 * (len(self._entries) + gap) >= core.PUT:
            yield from self.flush()
            self._base, gap = index, 0
        self._entries.frombytes(bytes(8 * gap))
        self._entries.append(place)

    def flush(self) -> Iterator[Put]:
        """Puts what has been gathered."""
        if self._entries:
            yield Put(self._offset + 8 * self._base, big(self._entries))
        self._entries = array("Q")


def big(entries: array[int]) -> bytes:
    """Entries as a file has them."""
    if byteorder == "little":
        entries = entries[:]
        entries.byteswap()
    return entries.tobytes()


def compressed(plan: Plan, offset: int, stored: int) -> int:
    """The L2 entry of a cluster that is stored as so many bytes."""
    return layout.COMPRESSED | stored << layout.length_shift(plan.cluster_bits) | offset
