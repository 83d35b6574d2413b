"""Setting bits of a stored bitmap without touching what is stored: clusters that change get new places.

Source: docs/interop/qcow2.txt of QEMU, "Bitmaps".
"""

from __future__ import annotations

from array import array

from instar_core.bits import set_bits
from instar_core.errors import ErrorKind, FormatError
from instar_core.types import Kind, Put
from instar_qcow2 import layout
from instar_qcow2.bitmaps import ALL_ONES, sound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from instar_core.source import Source
    from instar_core.types import Run
    from instar_qcow2.header import Header
    from instar_qcow2.hostclusters import HostClusters


class Bits:
    """The table of one bitmap as it will be. One cluster of bits is in memory at a time; `changed` says whether the
    table is another one than before."""

    __slots__ = ("_at", "_before", "_bits", "_clusters", "_data", "_header", "_source", "changed", "table")

    def __init__(
        self, source: Source, header: Header, clusters: HostClusters, granularity_bits: int, table: array[int]
    ) -> None:
        self._source, self._header, self._clusters = source, header, clusters
        self._bits = granularity_bits
        self._at = -1
        self._data = bytearray()
        self._before = b""
        self.table = table
        self.changed = False

    def clear(self) -> None:
        """No bit is set, and no cluster needed."""
        for index, value in enumerate(self.table):
            if value:
                self._release(value)
                self.table[index] = 0
                self.changed = True

    def merge(self, runs: Iterable[Run]) -> Iterator[Put]:
        """Every bit is set whose part of the disk one of the runs touches; they ascend. The clusters that hold them."""
        each = 8 * self._header.cluster_size
        most = len(self.table) * each
        for run in runs:
            if run.kind != Kind.DATA or run.length <= 0:
                continue
            low = run.start >> self._bits
            high = min(most, -(-(run.start + run.length) >> self._bits))
            while low < high:
                index, at = divmod(low, each)
                if not at and high - low >= each:
                    yield from self._flush()
                    count = (high - low) // each
                    self._fill(index, count)
                    low += count * each
                    continue
                if index != self._at:
                    yield from self._flush()
                    self._load(index)
                end = min(high, (index + 1) * each)
                set_bits(self._data, at, end - index * each)
                low = end
        yield from self._flush()

    def _fill(self, index: int, count: int) -> None:
        part = self.table[index : index + count]
        ones = array("Q", (ALL_ONES,)) * count
        if part == ones:
            return
        for value in part:
            if value:
                self._release(value)
        self.table[index : index + count] = ones
        self.changed = True

    def _load(self, index: int) -> None:
        value, size = self.table[index], self._header.cluster_size
        if value in (0, ALL_ONES):
            self._before = (b"\xff" if value else b"\0") * size
        else:
            self._before = self._source.read(self._place(value), size, pad=True)
        self._data = bytearray(self._before)
        self._at = index

    def _flush(self) -> Iterator[Put]:
        index, self._at = self._at, -1
        if index < 0 or self._data == self._before:
            return
        self._release(self.table[index])
        if self._data.count(0xFF) == len(self._data):
            self.table[index] = ALL_ONES
        else:
            self.table[index] = self._clusters.take(1)
            yield Put(self.table[index], bytes(self._data))
        self.changed = True

    def _release(self, value: int) -> None:
        offset = self._place(value)
        if offset:
            self._clusters.refer(offset >> self._header.cluster_bits, 1, -1)

    def _place(self, value: int) -> int:
        if not sound(self._header, value):
            raise FormatError(f"A bitmap table entry is corrupted: {value:x}", kind=ErrorKind.CORRUPT)
        return value & layout.BITMAP_TABLE_OFFSET_MASK
