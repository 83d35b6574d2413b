"""New images of which every cluster has its place from the start: preallocated ones, and raw external data files.

The order is header, refcount table and blocks, L1 table, LUKS header, L2 tables, and then the disk as one contiguous
stretch.
"""

from __future__ import annotations

from instar_core import limits as core
from instar_core.errors import ErrorKind, FormatError
from instar_core.types import Copy, Kind, Punch, Put, Reserve, Zero
from instar_qcow2 import layout, limits
from instar_qcow2.commit import commit
from instar_qcow2.counts import Counts
from instar_qcow2.level1 import Level1
from instar_qcow2.refcount_table import put_blocks, put_table
from instar_qcow2.sizes import ceil_div, full_refcounts, l1_clusters
from instar_qcow2.tables import ALLOCATED, Tables

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from instar_core.types import Edit, Run
    from instar_qcow2.plan import Plan

BATCH = core.PUT // 2


def fill_mapped(plan: Plan, runs: Iterable[Run]) -> Iterator[Edit]:
    """The image holds the runs, and every cluster is allocated; its header is written last.

    With keep_data_file and no runs the data file keeps its content.
    """
    size = plan.cluster_size
    refcount_clusters, blocks = full_refcounts(plan)
    if refcount_clusters * size > limits.REFCOUNT_TABLE:
        raise FormatError("The image needs a larger refcount table than qcow2 images may have", kind=ErrorKind.LIMIT)
    l1_offset = (1 + refcount_clusters + blocks) * size
    l2_offset = l1_offset + (l1_clusters(plan) + plan.luks_clusters) * size
    data_offset = l2_offset + plan.tables * size
    end = data_offset if plan.data_file else data_offset + plan.clusters * size
    disk = Disk(plan, 0 if plan.data_file else data_offset)
    level1 = Level1(l1_offset, plan.tables)
    yield from put_table(size, refcount_clusters * size, [((1 + refcount_clusters) * size, blocks)], size)
    counts = Counts(plan.cluster_bits, plan.refcount_order)
    yield from put_blocks(counts, blocks, (1 + refcount_clusters) * size, size, end // size)
    for edits in disk.fill(runs):
        yield from edits
        for index, data in disk.take():
            yield Put(l2_offset + index * size, data)
            yield from level1.set(index, layout.COPIED | l2_offset + index * size)
    yield from level1.finish()
    yield from commit(plan, l1_offset, size, refcount_clusters, end)


class Disk:
    """The disk at byte `base` of its device, and the L2 tables that say so."""

    __slots__ = ("_at", "_base", "_device", "_marks", "_plain", "_plan", "_punch", "_tables", "_unwritten")

    def __init__(self, plan: Plan, base: int) -> None:
        self._plan, self._base = plan, base
        self._device = 1 if plan.data_file else 0
        self._punch = plan.preallocation == "metadata" and not plan.keep_data_file
        self._plain = plan.encryption.method == layout.CRYPT_NONE
        shown = (plan.data_file_raw or plan.keep_data_file) and not plan.unwritten_zeros
        self._marks = plan.extended_l2 and not shown
        """Whether bitmaps tell content from what is only reserved; else the device itself is what the disk reads as."""
        self._unwritten = layout.ZERO if plan.unwritten_zeros and not plan.extended_l2 else 0
        """Flag of the entries of clusters without content."""
        self._at = 0
        """Clusters before this one are in the tables."""
        self._tables = Tables(plan.l2_entries, extended=plan.extended_l2)

    def take(self) -> list[tuple[int, bytes]]:
        """L2 tables, by index, that have become complete."""
        ready, self._tables.ready = self._tables.ready, []
        return ready

    def fill(self, runs: Iterable[Run]) -> Iterator[tuple[Edit, ...]]:
        """Edits of the disk's content, a few at a time; tables complete between them."""
        plan, length = self._plan, self._plan.clusters << self._plan.cluster_bits
        if self._device:
            length = plan.size
        if plan.preallocation in ("falloc", "full") and length:
            yield (Reserve(self._base, length, plan.preallocation, self._device),)
        done = 0
        for run in runs:
            if self._punch and run.start > done:
                yield (Punch(self._base + done, run.start - done, self._device),)
            done = run.start + run.length
            said = run.kind == Kind.ZERO and (self._marks or self._unwritten)
            if run.kind == Kind.DATA or not (said or self._plain):
                yield (Copy(run.start, self._base + run.start, run.length, self._device),)
            elif not said:
                yield (Zero(self._base + run.start, run.length, self._device),)
            for _ in self._mark(run):
                yield ()
        if self._punch and length > done:
            yield (Punch(self._base + done, length - done, self._device),)
        for _ in self._cover(plan.clusters):
            yield ()
        self._tables.close()
        yield ()

    def _cover(self, end: int, bitmap: int = 0, *, written: bool = False) -> Iterator[None]:
        """Clusters up to `end` are in the tables; pauses whenever a few tables are complete."""
        bits, entries = self._plan.cluster_bits, self._plan.l2_entries
        bitmap = bitmap if self._marks else ALLOCATED
        while self._at < end:
            count = min(end - self._at, entries - self._at % entries)
            entry = layout.COPIED | (0 if written else self._unwritten) | self._base + (self._at << bits)
            self._tables.add(self._at, count, entry, 1 << bits, bitmap)
            self._at += count
            if len(self._tables.ready) << bits >= BATCH:
                yield

    def _mark(self, run: Run) -> Iterator[None]:
        """The subclusters of the run are marked as stored, or as zeros."""
        bits, each = self._plan.cluster_bits, self._plan.subcluster_size
        if not self._marks:
            yield from self._cover(run.start >> bits)
            yield from self._cover(ceil_div(run.start + run.length, 1 << bits), written=run.kind == Kind.DATA)
            return
        shift = 0 if run.kind == Kind.DATA else layout.SUBCLUSTERS
        start, end = run.start, run.start + run.length
        while start < end:
            cluster, inside = start >> bits, start & (1 << bits) - 1
            whole = end - start >> bits if not inside else 0
            piece = whole << bits or min((1 << bits) - inside, end - start)
            bitmap = (1 << ceil_div(min(piece, 1 << bits), each)) - 1 << inside // each << shift
            yield from self._cover(cluster)
            if self._at > cluster:
                entry = layout.COPIED | self._base + (cluster << bits)
                self._tables.add(cluster, 1, entry, 1 << bits, bitmap)
            else:
                yield from self._cover(cluster + max(1, whole), bitmap)
            start += piece
