"""Placing content in an image as it is: over what it owns alone, and anew where something else needs the old.

Source: docs/interop/qcow2.txt of QEMU, "Cluster mapping" and "Extended L2 Entries".
"""

from __future__ import annotations

from instar_core import limits as core
from instar_core.errors import FormatError
from instar_core.types import Copy, Punch, Put, Zero
from instar_qcow2 import layout
from instar_qcow2.inplace import sound
from instar_qcow2.level2 import compressed_place, data_offset, entry_runs
from instar_qcow2.sizes import ceil_div
from instar_qcow2.tables import ALLOCATED, ZEROS, run_bytes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from instar_core.types import Edit
    from instar_qcow2.inplace import InPlace, Table


class Content:
    """Writes stretches of the disk; they come in whole units (see update.geometry) and ascend."""

    __slots__ = ("_disk", "_external", "_header", "_image", "_raw", "_subcluster")

    def __init__(self, image: InPlace) -> None:
        header = image.header
        self._image, self._header = image, header
        self._external = header.data_file
        self._raw = bool(header.data_file and header.autoclear_features & layout.AUTOCLEAR_DATA_FILE_RAW)
        self._subcluster = header.cluster_size // layout.SUBCLUSTERS if header.extended_l2 else header.cluster_size
        self._disk = header.disk_size

    def data(self, start: int, length: int) -> Iterator[Edit]:
        """The disk holds what the run offers there."""
        for table, cluster, inside, count, piece in self._parts(start, length):
            at = cluster % self._header.l2_entries
            if self._partial(inside, count, piece):
                yield from self._part(table, cluster, inside, piece)
                continue
            for index, some, entry, step in self._runs(table, at, count):
                here = min(some << self._header.cluster_bits, piece - (index << self._header.cluster_bits))
                yield from self._whole(table, cluster + index, some, here, (entry, step))

    def zeros(self, start: int, length: int) -> Iterator[Edit]:
        """The disk reads as zeros there. Needs version 3, or an image without a backing file."""
        for table, cluster, inside, count, piece in self._parts(start, length):
            if self._raw:
                begin = (cluster << self._header.cluster_bits) + inside
                yield Punch(begin, min(piece, self._disk - begin), 1)
            at = cluster % self._header.l2_entries
            tail = (cluster << self._header.cluster_bits) + inside + piece >= self._disk
            if self._partial(inside, count, piece) and (inside or not tail):
                self._zero_part(table, cluster, inside, piece)
                continue
            for index, some, entry, step in self._runs(table, at, count):
                self._zero_whole(table, cluster + index, some, (entry, step))

    def forget(self, cluster: int) -> Table:
        """The table of this guest cluster, whose old content will not be needed."""
        table = self._image.table(cluster // self._header.l2_entries)
        for _, _, entry, _ in self._runs(table, cluster % self._header.l2_entries, 1):
            self._drop(cluster, 1, entry, 0)
        return table

    def set(self, table: Table, cluster: int, count: int, entry: int, step: int, bitmap: int) -> None:
        """The entries of these clusters are entry, entry + step, …, each with this bitmap where entries have one."""
        data = run_bytes(count, entry, step, bitmap if self._header.extended_l2 else None)
        self._image.write(table, cluster % self._header.l2_entries, data)

    def _parts(self, start: int, length: int) -> Iterator[tuple[Table, int, int, int, int]]:
        """(table, first cluster, byte in it, clusters, bytes) of stretches within one table: whole clusters, the last
        of the disk being whole too, or with subclusters a part of one."""
        bits, size, entries = self._header.cluster_bits, self._header.cluster_size, self._header.l2_entries
        while length:
            cluster, inside = start >> bits, start & size - 1
            if inside or length < size:
                count, piece = 1, min(size - inside, length)
            else:
                whole = length >> bits if self._header.extended_l2 else ceil_div(length, size)
                count = min(whole, entries - cluster % entries)
                piece = min(length, count << bits)
            yield self._image.table(cluster // entries), cluster, inside, count, piece
            start, length = start + piece, length - piece

    def _partial(self, inside: int, count: int, piece: int) -> bool:
        return self._header.extended_l2 and (inside > 0 or piece < count << self._header.cluster_bits)

    def _runs(self, table: Table, at: int, count: int) -> Iterator[tuple[int, int, int, int]]:
        """Runs of entries, all sound; clusters of which only some are owned alone come one by one, and so do repeated
        places."""
        header, width = self._header, self._header.l2_entry_size
        for index, some, entry, step in entry_runs(header, bytes(table.data[at * width : (at + count) * width])):
            sound(header, entry)
            offset = 0 if entry & layout.COMPRESSED else entry & layout.OFFSET_MASK
            alone = some == 1 or (not entry & layout.COMPRESSED and not offset)
            if not alone and step and not self._external:
                alone = self._image.owned(data_offset(header, entry), some) is not None
            if alone or (step and self._external):
                yield index, some, entry, step
                continue
            for number in range(some):
                yield index + number, 1, entry + step * number, 0

    def _mine(self, entry: int, count: int) -> bool:
        """Whether these clusters have a place that nothing else refers to."""
        offset = 0 if entry & layout.COMPRESSED else data_offset(self._header, entry)
        return bool(offset and self._image.owned(offset, count) and entry & layout.COPIED)

    def _drop(self, cluster: int, count: int, entry: int, step: int) -> None:
        """What the entries refer to is not needed."""
        bits = self._header.cluster_bits
        if entry & layout.COMPRESSED:
            self._image.drop_bytes(*compressed_place(self._header, entry))
        elif self._external:
            if not self._raw and entry & (layout.COPIED | layout.OFFSET_MASK):
                begin = cluster << bits
                self._image.drop_outside(begin, min(count << bits, self._disk - begin))
        elif offset := data_offset(self._header, entry):
            self._image.owned(offset, count)
            self._image.drop(offset >> bits, count)

    def _whole(self, table: Table, cluster: int, count: int, length: int, old: tuple[int, int]) -> Iterator[Edit]:
        """Whole clusters hold what is offered for `length` bytes of them; `old` is (entry, step) of what they have."""
        bits, size = self._header.cluster_bits, self._header.cluster_size
        entry, step = old
        start = cluster << bits
        if self._external:
            yield Copy(start, start, length, 1)
            self.set(table, cluster, count, layout.COPIED | start, size, ALLOCATED)
            return
        if self._mine(entry, count):
            offset = entry & layout.OFFSET_MASK
            yield Copy(start, offset, length)
            if entry & layout.ZERO:
                yield from self._rest(offset, length, count)
            self.set(table, cluster, count, layout.COPIED | offset, size, ALLOCATED)
            return
        self._drop(cluster, count, entry, step)
        while count:
            offset, some = self._image.clusters.take_some(count)
            piece = min(length, some << bits)
            yield Copy(start, offset, piece)
            yield from self._rest(offset, piece, some)
            self.set(table, cluster, some, layout.COPIED | offset, size, ALLOCATED)
            cluster, count, length, start = cluster + some, count - some, length - piece, start + piece

    def _rest(self, offset: int, length: int, count: int) -> Iterator[Zero]:
        """What the disk does not reach to is zeros: it may grow."""
        rest = (count << self._header.cluster_bits) - length
        if rest:
            yield Zero(offset + length, rest)

    def _part(self, table: Table, cluster: int, inside: int, length: int) -> Iterator[Edit]:
        """Subclusters of one cluster hold what is offered."""
        entry, bitmap, mask = self._subclusters(table, cluster, inside, length)
        start = (cluster << self._header.cluster_bits) + inside
        offset = cluster << self._header.cluster_bits
        if self._external:
            yield Copy(start, start, length, 1)
        elif self._mine(entry, 1):
            offset = entry & layout.OFFSET_MASK
            yield Copy(start, offset + inside, length)
        else:
            offset = self._image.clusters.take(1)
            if entry & layout.COMPRESSED:
                bitmap = self._beyond(start, length, mask)
            elif entry & layout.OFFSET_MASK:
                yield from self._moved(data_offset(self._header, entry), offset, bitmap & ALLOCATED & ~mask)
            self._drop(cluster, 1, entry, 0)
            yield Copy(start, offset + inside, length)
        rest = -length % self._subcluster
        if rest and not self._external:
            yield Zero(offset + inside + length, rest)
        bitmap = bitmap & ~(mask << layout.SUBCLUSTERS) | mask
        self.set(table, cluster, 1, layout.COPIED | offset, 0, bitmap)

    def _beyond(self, start: int, length: int, mask: int) -> int:
        """The bitmap of a cluster that was compressed: what the disk does not reach to is zeros."""
        if start + length < self._disk or mask & 1 == 0:
            raise FormatError("a part of a compressed cluster was offered")
        return (ALLOCATED & ~mask) << layout.SUBCLUSTERS

    def _moved(self, old: int, new: int, stored: int) -> Iterator[Put]:
        """The subclusters in `stored` are in the new cluster as they are in the old one, which others keep."""
        each = self._subcluster
        for number in range(layout.SUBCLUSTERS):
            if stored >> number & 1:
                for at in range(number * each, (number + 1) * each, core.PUT):
                    data = self._image.source.read(old + at, min(core.PUT, each), pad=True)
                    yield Put(new + at, data)

    def _zero_whole(self, table: Table, cluster: int, count: int, old: tuple[int, int]) -> None:
        """Whole clusters read as zeros and have no place."""
        self._drop(cluster, count, *old)
        none = self._header.version < 3 or self._header.extended_l2
        self.set(table, cluster, count, 0 if none else layout.ZERO, 0, ZEROS)

    def _zero_part(self, table: Table, cluster: int, inside: int, length: int) -> None:
        """Subclusters of one cluster read as zeros; it keeps its place while anything of it is stored."""
        entry, bitmap, mask = self._subclusters(table, cluster, inside, length)
        if entry & layout.COMPRESSED:
            raise FormatError("a part of a compressed cluster was offered")
        bitmap = bitmap & ~mask | mask << layout.SUBCLUSTERS
        if bitmap == ZEROS:
            self._drop(cluster, 1, entry, 0)
            entry = 0
        self.set(table, cluster, 1, entry, 0, bitmap)

    def _subclusters(self, table: Table, cluster: int, inside: int, length: int) -> tuple[int, int, int]:
        """(entry, bitmap, which subclusters the bytes are) of one cluster."""
        at = 16 * (cluster % self._header.l2_entries)
        entry, bitmap = (int.from_bytes(table.data[at + by : at + by + 8], "big") for by in (0, 8))
        sound(self._header, entry, bitmap)
        mask = (1 << ceil_div(length, self._subcluster)) - 1 << inside // self._subcluster
        return entry, bitmap, mask
