"""Filling a new image from front to back: clusters are given out one after another, in the order of the runs.

Data lies contiguously between the batches of L2 tables and refcount blocks, which are written as they complete, so
that memory stays bounded. Source: docs/interop/qcow2.txt of QEMU.
"""

from __future__ import annotations

from instar_core import limits as core
from instar_core.errors import ErrorKind, FormatError
from instar_core.types import Copy, Kind, Put, Zero
from instar_qcow2 import layout, limits
from instar_qcow2.commit import commit
from instar_qcow2.counts import Counts
from instar_qcow2.level1 import Level1
from instar_qcow2.refcount_table import put_blocks, put_table
from instar_qcow2.sizes import ceil_div, full_refcounts, l1_clusters
from instar_qcow2.tables import ALLOCATED, ZEROS, Tables

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from instar_core.types import Edit, Run
    from instar_qcow2.plan import Plan

BATCH = core.PUT // 2
"""Bytes of complete L2 tables that are written together: a table is at most as large again."""


def fill(plan: Plan, runs: Iterable[Run]) -> Iterator[Edit]:
    """The image holds the runs and nothing else; its header is written last."""
    image = Sequential(plan)
    for run in runs:
        if run.coding:
            yield from image.compressed(run)
        elif run.kind == Kind.DATA:
            yield from image.data(run.start, run.length)
        elif plan.version < 3:
            yield from image.data(run.start, run.length, zeros=True)
        else:
            image.zeros(run.start, run.length)
        if len(image.tables.ready) << plan.cluster_bits >= BATCH:
            yield from image.flush()
    yield from image.finish()


class Sequential:
    """An image under construction. `_end` is the number of clusters given out, all of which are in use.

    `_tail` is the byte after the last compressed cluster, None unless that leaves room in its host cluster, and
    `_shares` how many compressed clusters lie in that host cluster.
    """

    __slots__ = (
        "_blocks", "_counts", "_end", "_level1", "_part", "_part_offset", "_plan", "_shares", "_size",
        "_table_clusters", "_tail", "tables",
    )  # fmt: skip

    def __init__(self, plan: Plan) -> None:
        size = plan.cluster_size
        self._plan, self._size = plan, size
        self._table_clusters = min(full_refcounts(plan)[0], limits.REFCOUNT_TABLE // size)
        first = 1 + self._table_clusters
        self._end = first + l1_clusters(plan) + plan.luks_clusters
        self._level1 = Level1(first * size, plan.tables)
        self._counts = Counts(plan.cluster_bits, plan.refcount_order)
        self._blocks: list[tuple[int, int]] = []
        self._tail: int | None = None
        self._shares = 0
        self._part, self._part_offset = -1, 0
        self.tables = Tables(plan.l2_entries, extended=plan.extended_l2)

    def data(self, start: int, length: int, *, zeros: bool = False) -> Iterator[Edit]:
        """The disk holds what the run offers at `start` (or, with `zeros`, stored zeros)."""
        bits, size = self._plan.cluster_bits, self._size
        external = 1 if self._plan.data_file else 0
        plain = self._plan.encryption.method == layout.CRYPT_NONE
        while length:
            cluster, inside = start >> bits, start & size - 1
            if self._plan.extended_l2 and (inside or length < size):
                piece = min(size - inside, length)
                offset = self._part_place(cluster) + inside
                self.tables.add(cluster, 1, layout.COPIED | offset - inside, 0, self._subclusters(inside, piece))
            else:
                whole = length >> bits if self._plan.extended_l2 else ceil_div(length, size)
                count = min(whole, self._room(cluster))
                piece = min(length, count << bits)
                offset = self._place(cluster, count)
                self.tables.add(cluster, count, layout.COPIED | offset, size, ALLOCATED)
            yield Zero(offset, piece, external) if zeros and plain else Copy(start, offset, piece, external)
            if len(self.tables.ready) << bits >= BATCH:
                yield from self.flush()
            start, length = start + piece, length - piece

    def zeros(self, start: int, length: int) -> None:
        """The disk reads as zeros there, without storing them. Needs version 3."""
        bits, size = self._plan.cluster_bits, self._size
        while length:
            cluster, inside = start >> bits, start & size - 1
            if not self._plan.extended_l2:
                count = min(ceil_div(length, size), self._room(cluster))
                piece = min(length, count << bits)
                self.tables.add(cluster, count, layout.ZERO, 0)
            elif inside or length < size:
                piece = min(size - inside, length)
                self.tables.add(cluster, 1, 0, 0, self._subclusters(inside, piece) << layout.SUBCLUSTERS)
            else:
                count = min(length >> bits, self._room(cluster))
                piece = count << bits
                self.tables.add(cluster, count, 0, 0, ZEROS)
            start, length = start + piece, length - piece

    def compressed(self, run: Run) -> Iterator[Edit]:
        """The cluster at run.start is stored as run.stored compressed bytes, after the last ones where that can be."""
        bits, size, stored = self._plan.cluster_bits, self._size, run.stored
        if not 0 < stored <= size or run.start & size - 1 or run.length > size:
            raise ValueError(f"a compressed run of {stored} bytes at {run.start} is not a cluster's")
        at = self._tail
        if at is not None:
            last = at >> bits == self._end - 1
            if self._shares >= self._counts.most or (not last and stored > size - (at & size - 1)):
                at = None
        if at is None:
            at = self._end << bits
            self._shares = 1
        else:
            self._counts.share(at >> bits)
            self._shares += 1
        end = at + stored
        field = layout.compressed_field_bits(bits)
        if end > 1 << field:
            raise FormatError("The image is too large for compressed clusters of this size", kind=ErrorKind.LIMIT)
        if end - 1 >> bits > at >> bits and at & size - 1:
            self._shares = 1
        self._end = max(self._end, ceil_div(end, size))
        self._tail = end if end & size - 1 else None
        sectors = (end - 1 >> 9) - (at >> 9)
        self.tables.add(run.start >> bits, 1, layout.COMPRESSED | sectors << field | at, 0)
        yield Copy(run.start, at, stored)

    def flush(self) -> Iterator[Edit]:
        """What is complete of L2 tables and refcount blocks is written."""
        bits = self._plan.cluster_bits
        ready, self.tables.ready = self.tables.ready, []
        at_once = max(1, core.PUT >> bits)
        for first in range(0, len(ready), at_once):
            part = ready[first : first + at_once]
            yield Put(self._end << bits, b"".join(data for _, data in part))
            for number, (index, _) in enumerate(part):
                yield from self._level1.set(index, layout.COPIED | self._end + number << bits)
            self._end += len(part)
        while count := self._final() // self._counts.per_block - self._counts.taken:
            yield from self._put_blocks(count)

    def finish(self) -> Iterator[Edit]:
        """The image is complete, its header last."""
        self.tables.close()
        yield from self.flush()
        self._tail = None
        needed = 0
        while (wanted := ceil_div(self._end + needed, self._counts.per_block) - self._counts.taken) > needed:
            needed = wanted
        yield from self._put_blocks(needed)
        yield from self._level1.finish()
        size, table = self._size, self._table_clusters
        yield from put_table(size, table * size, self._blocks, size)
        yield from commit(self._plan, (1 + table) * size, size, table, self._end * size)

    def _put_blocks(self, count: int) -> Iterator[Edit]:
        offset = self._end * self._size
        self._end += count
        if count:
            self._blocks.append((offset, count))
        yield from put_blocks(self._counts, count, offset, self._size, self._end)

    def _final(self) -> int:
        """Clusters before this one keep the refcounts that they have."""
        return self._end if self._tail is None else min(self._end, self._tail >> self._plan.cluster_bits)

    def _room(self, cluster: int) -> int:
        return self._plan.l2_entries - cluster % self._plan.l2_entries

    def _place(self, cluster: int, count: int) -> int:
        """The offset of `count` fresh clusters for those from guest cluster `cluster` on."""
        if self._plan.data_file:
            return cluster * self._size
        self._end += count
        return (self._end - count) * self._size

    def _part_place(self, cluster: int) -> int:
        if self._part != cluster:
            self._part, self._part_offset = cluster, self._place(cluster, 1)
        return self._part_offset

    def _subclusters(self, inside: int, length: int) -> int:
        each = self._plan.subcluster_size
        return (1 << ceil_div(length, each)) - 1 << inside // each
