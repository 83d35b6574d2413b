"""Refcounts for a change in several cycles, each of which is stable before the next begins."""

from __future__ import annotations

from instar_qcow2.hostclusters import HostClusters

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from instar_core.source import Source
    from instar_qcow2.header import Header


class CycledClusters(HostClusters):
    """HostClusters of which free ones are given out in parts, and what a cycle freed can be told or used again."""

    __slots__ = ("_bytes_shift",)

    def __init__(self, source: Source, header: Header) -> None:
        super().__init__(source, header)
        self._bytes_shift = header.cluster_bits

    def take_some(self, most: int) -> tuple[int, int]:
        """(offset, count) of up to `most` contiguous clusters that were free, which now have refcount 1."""
        count = most
        if self._free and self._free[0][1] < most:
            count = self._free[0][1]
        return self.take(count), count

    def release(self, first: int, count: int) -> Iterator[tuple[int, int]]:
        """The refcounts of these clusters go down by 1; (offset, length) in bytes of what is free thereby, ascending.

        What is free is not given out again before `reuse`. Raises FormatError as refer does.
        """
        self.refer(first, count, -1)
        at, end = first, first + count
        while at < end:
            some = self._alike(at, end)
            if not self._counts[at]:
                yield at << self._bytes_shift, some << self._bytes_shift
            at += some

    def reuse(self) -> None:
        """All that is free now may be given out, and the file grows from where it is in use now.

        Only for a state that is on stable storage and current.
        """
        self.end = self._used()
        self._free = list(self._free_runs())

    def counting(self, number: int) -> bool:
        """Whether any cluster that the block of this number counts is in use."""
        return any(self._counts[number * self.per_block : (number + 1) * self.per_block])
