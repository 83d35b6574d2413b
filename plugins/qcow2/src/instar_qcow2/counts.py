"""Refcounts of an image that is written from front to back.

Source: docs/interop/qcow2.txt of QEMU, "Host cluster management".
"""

from __future__ import annotations

from instar_qcow2.sizes import refcounts_per_block


class Counts:
    """Every cluster written has refcount 1 but those that several compressed clusters share.

    Only blocks with such clusters are kept, and only until they are taken: the writer takes blocks as they complete.
    """

    __slots__ = ("_blocks", "_order", "_size", "most", "per_block", "taken")

    def __init__(self, cluster_bits: int, order: int) -> None:
        self._order = order
        self._size = 1 << cluster_bits
        self._blocks: dict[int, bytearray] = {}
        self.per_block = refcounts_per_block(cluster_bits, order)
        self.most = (1 << (1 << order)) - 1
        self.taken = 0
        """Blocks taken so far."""

    def ones(self, count: int) -> bytearray:
        """A block whose first `count` refcounts are 1 and whose others are 0."""
        count = min(count, self.per_block)
        if self._order >= 3:
            width = 1 << self._order >> 3
            return bytearray((1).to_bytes(width, "big") * count).ljust(self._size, b"\0")
        bits = 1 << self._order
        each = 8 // bits
        pattern = sum(1 << bits * index for index in range(each))
        made = bytearray(bytes((pattern,)) * (count // each))
        if count % each:
            made.append(pattern & (1 << bits * (count % each)) - 1)
        return made.ljust(self._size, b"\0")

    def share(self, cluster: int) -> None:
        """One more compressed cluster lies in host cluster number `cluster`, whose refcount was at least 1."""
        number, at = divmod(cluster, self.per_block)
        block = self._blocks.get(number)
        if block is None:
            block = self._blocks[number] = self.ones(self.per_block)
        self._add(block, at)

    def _add(self, block: bytearray, at: int) -> None:
        bits = 1 << self._order
        if bits < 8:
            each = 8 // bits
            block[at // each] += 1 << bits * (at % each)
            return
        width = bits >> 3
        place = slice(at * width, (at + 1) * width)
        block[place] = (int.from_bytes(block[place], "big") + 1).to_bytes(width, "big")

    def take(self, clusters: int) -> bytes:
        """The next block, of an image of which `clusters` clusters are in use so far as this block can tell."""
        number = self.taken
        self.taken += 1
        used = clusters - number * self.per_block
        block = self._blocks.pop(number, None)
        if block is None:
            return bytes(self.ones(used))
        return self.cut(block, used)

    def cut(self, block: bytearray, used: int) -> bytes:
        """The block with the refcounts from `used` on 0."""
        if used >= self.per_block:
            return bytes(block)
        bits = used << self._order
        head = block[: (bits + 7) // 8]
        if bits % 8:
            head[-1] &= (1 << bits % 8) - 1
        return bytes(head.ljust(self._size, b"\0"))
