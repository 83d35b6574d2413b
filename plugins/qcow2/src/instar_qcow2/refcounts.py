"""The refcounts that an image stores. Source: docs/interop/qcow2.txt of QEMU, "Host cluster management"."""

from __future__ import annotations

from instar_core.limits import MIB
from instar_core.tally import MANY, narrow_table, wide_entry
from instar_qcow2 import layout
from instar_qcow2.errors import hexadecimal
from instar_qcow2.tablescan import equal_runs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from instar_core.source import Source
    from instar_qcow2.header import Header

KEPT = 32 * MIB
"""Bytes of narrowed refcount blocks kept, so that a fragmented image reads each once; blocks of 1 alone cost none."""

NAMED = 1 << 17
"""Refcount blocks kept by number."""

TOGETHER = 16
"""Most refcount blocks that are put together to be looked up in."""

ONE = bytes([1])


class UnreadableBlockError(Exception):
    """The refcount table points to a block that cannot be read, as it is not cluster aligned or reaches 2^63."""

    def __init__(self, offset: int, index: int, unaligned: bool) -> None:
        super().__init__(f"Refblock offset {hexadecimal(offset)} unaligned (reftable index: {hexadecimal(index)})")
        self.unaligned = unaligned


class Refcounts:
    """Stored refcounts by host cluster number. What lies past the table, or past the end of the file, is 0."""

    __slots__ = (
        "_all_one",
        "_bits",
        "_bytes",
        "_cluster_size",
        "_kept",
        "_source",
        "entries",
        "per_block",
        "table_offset",
    )

    def __init__(self, source: Source, header: Header) -> None:
        self._source = source
        self._bits = header.refcount_bits
        self._cluster_size = header.cluster_size
        self._kept: dict[int, bytes] = {}
        self._bytes = 0
        self.table_offset = header.refcount_table_offset
        self.entries = (header.refcount_table_clusters << header.cluster_bits) // 8
        self.per_block = header.cluster_size * 8 // self._bits
        self._all_one = ONE * self.per_block

    def __getitem__(self, cluster: int) -> int:
        """The refcount of a host cluster. Raises UnreadableBlockError."""
        index, at = divmod(cluster, self.per_block)
        block = self.block(index)
        if block is None:
            return 0
        value = block[at]
        return value if value != MANY else wide_entry(self._stored(self.place(index)), self._bits, at)

    def uniform(self, first: int, count: int, one: bool) -> bool:
        """Whether each of these clusters has refcount 1, or with `one` false none has. Raises UnreadableBlockError."""
        while count:
            index, at = divmod(first, self.per_block)
            some = min(count, self.per_block - at)
            block = self.block(index)
            if one:
                if block is None or block[at : at + some] != ONE * some:
                    return False
            elif block is not None and block.find(ONE, at, at + some) >= 0:
                return False
            first += some
            count -= some
        return True

    def ones(self, clusters: list[int], *, none: bool = False) -> bool:
        """Whether each of these clusters has refcount 1, or with `none` none has. False also where that cannot be read,
        be it for others."""
        if not clusters:
            return True
        per = self.per_block
        first, last = min(clusters) // per, max(clusters) // per
        try:
            if last - first < TOGETHER:
                empty = bytes(per)
                counts = b"".join([self.block(index) or empty for index in range(first, last + 1)])
                base = first * per
                found = bytes([counts[cluster - base] for cluster in clusters])
            else:
                found = bytes([min(self[cluster], MANY) for cluster in clusters])
        except UnreadableBlockError:
            return False
        return ONE not in found if none else found.count(ONE) == len(found)

    def block(self, index: int) -> bytes | None:
        """The refcounts of a block, narrowed to bytes (see narrow_table); None if there is none: all 0."""
        if index in self._kept:
            return self._kept[index]
        offset = self.place(index)
        if not offset:
            return None
        block = narrow_table(self._stored(offset), self._bits)
        if block == self._all_one:
            block = self._all_one
        else:
            self._bytes += len(block)
        if self._bytes > KEPT or len(self._kept) >= NAMED:
            self._kept.clear()
            self._bytes = 0 if block is self._all_one else self.per_block
        self._kept[index] = block
        return block

    def place(self, index: int) -> int:
        """The offset of a refcount block, 0 if there is none. Raises UnreadableBlockError."""
        if index >= self.entries:
            return 0
        stored = int.from_bytes(self._source.read(self.table_offset + 8 * index, 8, pad=True), "big")
        offset = stored & layout.REFTABLE_OFFSET_MASK
        if offset % self._cluster_size or offset + self._cluster_size >> 63:
            raise UnreadableBlockError(offset, index, offset % self._cluster_size != 0)
        return offset if offset < self._source.size else 0

    def _stored(self, offset: int) -> bytes:
        return self._source.read(offset, self._cluster_size, pad=True)

    def blocks(self, clusters: int) -> Iterator[tuple[int, int, int]]:
        """(block index, first cluster, clusters) of each block that the table names, up to the cluster `clusters`."""
        entries = min(self.entries, -(-clusters // self.per_block))
        for index, count, entry in equal_runs(self._source, self.table_offset, entries):
            for at in range(index, index + count if entry & layout.REFTABLE_OFFSET_MASK else index):
                cluster = at * self.per_block
                yield at, cluster, min(self.per_block, clusters - cluster)


def looks_preallocated(source: Source, header: Header) -> bool:
    """Whether more clusters are referenced than the file system keeps, by qemu's measure.

    Then clusters were allocated without being written, and holes of the file under them are worth looking for: qemu's
    block status looks through to the file exactly in this case.
    """
    refcounts = Refcounts(source, header)
    real = source.allocated // header.cluster_size
    threshold = max(real * 10 // 9, real + 2)
    clusters = -(-source.size // header.cluster_size)
    if clusters < threshold:
        return False
    used = 0
    try:
        for index, _, count in refcounts.blocks(clusters):
            block = refcounts.block(index)
            if block is not None:
                used += count - block[:count].count(0)
                if used >= threshold:
                    return True
    except UnreadableBlockError:
        return False
    return False
