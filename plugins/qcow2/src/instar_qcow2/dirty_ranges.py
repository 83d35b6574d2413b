"""Persistent bitmaps that track changes: what is written is dirty in them before it is written.

A window of each bitmap, ahead of the content, is made all dirty and stable; behind it the precise bits are written. So
a stop leaves bits too many, never one too few. Source: docs/interop/qcow2.txt of QEMU, "Bitmaps".
"""

from __future__ import annotations

from instar_core.errors import FormatError
from instar_core.limits import GIB
from instar_core.types import Barrier, Put
from instar_qcow2 import layout
from instar_qcow2.bitmaps import ALL_ONES, bitmap_pieces, directory_entries
from instar_qcow2.sizes import ceil_div

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from instar_core.types import Edit, Run
    from instar_qcow2.bitmaps import DirectoryEntry
    from instar_qcow2.inplace import InPlace

AHEAD = GIB
"""Bytes of the disk that are made dirty together, at the least."""


class DirtyRanges:
    """All bitmaps of the image that are enabled and not in use."""

    __slots__ = ("_tracks",)

    def __init__(self, image: InPlace) -> None:
        found = directory_entries(image.source, image.header)
        self._tracks = [
            Track(image, entry)
            for entry in found
            if entry.flags & layout.BITMAP_AUTO and not entry.flags & layout.BITMAP_IN_USE
        ]

    def cut(self, run: Run) -> Iterator[Run]:
        """The run in parts, each within a stretch that is made dirty together."""
        start, end = run.start, run.start + run.length
        if not self._tracks or start // AHEAD == (end - 1) // AHEAD:
            yield run
            return
        while start < end:
            stop = min(end, (start // AHEAD + 1) * AHEAD)
            yield run._replace(start=start, length=stop - start)
            start = stop

    def note(self, start: int, length: int) -> Iterator[Edit]:
        """These bytes are dirty in every bitmap, on stable storage, and about to be written. They ascend."""
        edits = [edit for track in self._tracks for edit in track.note(start, start + length)]
        if edits:
            yield from edits
            yield Barrier()

    def finish(self) -> Iterator[Edit]:
        """Every bitmap says what was written and no more, as soon as the change is current."""
        for track in self._tracks:
            yield from track.close(1 << 63)


class Track:
    """One bitmap. `_open` holds, by index in its table, the bits of the windows that are all dirty now, as they will
    be, and where they are stored (0: nowhere yet)."""

    __slots__ = ("_bits", "_entries", "_grain", "_image", "_open", "_reach", "_table", "_window")

    def __init__(self, image: InPlace, entry: DirectoryEntry) -> None:
        header = image.header
        self._image = image
        self._grain = entry.granularity_bits
        self._table = entry.table_offset
        self._window = 8 * header.cluster_size << self._grain
        self._bits = ceil_div(header.disk_size, 1 << self._grain)
        self._entries = {}
        for index, value, well in bitmap_pieces(image.source, header, entry):
            if not well:
                raise FormatError(f"Could not read bitmap '{entry.name}' from image: Invalid argument")
            self._entries[index] = value
        self._open: dict[int, tuple[bytearray, int]] = {}
        self._reach = 0

    def note(self, start: int, end: int) -> Iterator[Edit]:
        """The windows up to `end` are all dirty, those before `start` are precise, and these bytes will be dirty."""
        yield from self.close(start)
        if end > self._reach:
            first = max(self._reach, start) // self._window
            last = ceil_div(max(end, start + AHEAD), self._window)
            for index in range(first, min(last, ceil_div(self._bits, 8 * self._image.header.cluster_size))):
                yield from self._widen(index)
            self._reach = last * self._window
        bit, stop = start >> self._grain, min(self._bits, (end - 1 >> self._grain) + 1)
        each = 8 * self._image.header.cluster_size
        while bit < stop:
            index, at = divmod(bit, each)
            some = min(stop - bit, each - at)
            if index in self._open:
                mark(self._open[index][0], at, some)
            bit += some

    def close(self, before: int) -> Iterator[Edit]:
        """The windows that end before this byte say what was written and no more."""
        size = self._image.header.cluster_size
        for index in [index for index in self._open if (index + 1) * self._window <= before]:
            bits, offset = self._open.pop(index)
            if offset:
                yield Put(offset, bytes(bits))
                continue
            if any(bits):
                if bits == self._full(index):
                    continue
                offset = self._image.clusters.take(1)
                yield Put(offset, bytes(bits.ljust(size, b"\0")))
            self._image.later.append(Put(self._table + 8 * index, offset.to_bytes(8, "big")))

    def _widen(self, index: int) -> Iterator[Edit]:
        """The window is all dirty."""
        value = self._entries.pop(index, 0)
        if value & ALL_ONES or index in self._open:
            return
        size = self._image.header.cluster_size
        offset = value & layout.BITMAP_TABLE_OFFSET_MASK
        if not offset:
            self._open[index] = bytearray(size), 0
            yield Put(self._table + 8 * index, ALL_ONES.to_bytes(8, "big"))
            return
        if not self._image.owned(offset, 1):
            raise FormatError("A cluster of a bitmap is in use more than once", offset=offset)
        self._open[index] = bytearray(self._image.source.read(offset, size, pad=True)), offset
        yield Put(offset, bytes(self._full(index)))

    def _full(self, index: int) -> bytearray:
        """The bits of a window that is all dirty: none past the end of the disk."""
        size = self._image.header.cluster_size
        made = bytearray(size)
        mark(made, 0, min(8 * size, self._bits - 8 * size * index))
        return made


def mark(bits: bytearray, first: int, count: int) -> None:
    """These bits are set; the lowest bit of a byte is its first."""
    end = first + count
    low, high = first + 7 >> 3, end >> 3
    if low > high:
        bits[first >> 3] |= (1 << count) - 1 << (first & 7)
        return
    if first & 7:
        bits[first >> 3] |= 0xFF << (first & 7) & 0xFF
    bits[low:high] = b"\xff" * (high - low)
    if end & 7:
        bits[high] |= (1 << (end & 7)) - 1
