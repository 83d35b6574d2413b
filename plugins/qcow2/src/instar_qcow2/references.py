"""Counting who refers to which host cluster. Source: docs/interop/qcow2.txt of QEMU, "Host cluster management"."""

from __future__ import annotations

from instar_core.errors import ErrorKind, FormatError
from instar_core.tally import ReferenceTally
from instar_core.types import Finding, Severity
from instar_qcow2 import layout
from instar_qcow2.map import ALL, U64, compressed_place
from instar_qcow2.refcounts import UnreadableBlockError
from instar_qcow2.tablescan import equal_runs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from instar_core.source import Source
    from instar_qcow2.header import Header
    from instar_qcow2.refcounts import Refcounts

WIDEN = (
    "Use qemu-img amend to increase the refcount entry width or qemu-img convert to create a clean copy if the "
    "image cannot be opened for writing"
)


def corruption(text: str) -> Finding:
    """A finding that counts as a corruption."""
    return Finding(Severity.CORRUPTION, text)


class References:
    """What the image's metadata refers to, host cluster by host cluster, and how the active disk lies.

    `clusters` is the length of the file, and more where a last reference passes its end by less than a cluster.
    `doubtful` are the indices of active L2 tables in which a COPIED flag may be wrong.
    """

    __slots__ = (
        "_end",
        "_refcounts",
        "_source",
        "allocated",
        "clusters",
        "compressed",
        "doubtful",
        "fragmented",
        "header",
        "tally",
    )

    def __init__(self, source: Source, header: Header, refcounts: Refcounts) -> None:
        self._source = source
        self._end = source.size + 511 & ~511
        self.header = header
        self._refcounts = refcounts
        self.tally = ReferenceTally((1 << header.refcount_bits) - 1)
        self.clusters = -(-source.size >> header.cluster_bits)
        self.allocated = self.fragmented = self.compressed = 0
        self.doubtful: list[int] = []

    def add(self, offset: int, size: int) -> Sequence[Finding]:
        """Count a reference to every cluster of `size` bytes at `offset`; what is wrong with that is returned."""
        if size <= 0:
            return ()
        cluster_size, bits = self.header.cluster_size, self.header.cluster_bits
        if offset + size - self._end >= cluster_size:
            return (
                corruption(
                    "ERROR: counting reference for region exceeding the end of the file by one cluster or more: "
                    f"offset 0x{offset:x} size 0x{size:x}"
                ),
            )
        first, last = offset >> bits, offset + size - 1 >> bits
        self.clusters = max(self.clusters, last + 1)
        full = self.tally.add(first, last - first + 1)
        if not full:
            return ()
        return [
            finding
            for unit in full
            for finding in (
                corruption(f"ERROR: overflow cluster offset=0x{unit << bits:x}"),
                Finding(Severity.NOTE, WIDEN),
            )
        ]

    def add_l1(self, offset: int, entries: int, *, active: bool) -> Iterator[Finding]:
        """Count an L1 table, its L2 tables and what these refer to."""
        if not entries:
            return
        yield from self.add(offset, 8 * entries)
        if offset >> 63:
            yield Finding(Severity.NOTE, "ERROR: I/O error in check_refcounts_l1")
            raise FormatError("Input/output error", kind=ErrorKind.OUT_OF_BOUNDS, offset=offset)
        cluster_size = self.header.cluster_size
        for index, count, entry in equal_runs(self._source, offset, entries):
            for number in range(index, index + count):
                if entry & layout.L1_RESERVED:
                    yield corruption(f"ERROR found L1 entry with reserved bits set: {entry:x}")
                table = entry & layout.OFFSET_MASK
                yield from self.add(table, cluster_size)
                if table % cluster_size:
                    yield corruption(f"ERROR l2_offset={table:x}: Table is not cluster aligned; L1 entry corrupted")
                yield from self._add_l2(table, number, active)

    def _add_l2(self, table: int, number: int, active: bool) -> Iterator[Finding]:
        header = self.header
        size, bits, width = header.cluster_size, header.cluster_bits, header.l2_entry_size
        shift = 64 if width == 16 else 0
        stride = size << shift
        expected = 0
        sure = active
        plain_compressed = -1 if header.data_file else layout.COMPRESSED
        for index, count, first, step in self._source.runs(table, header.l2_entries, width, stride, pad=True):
            entry, final = first >> shift, first + step * (count - 1) >> shift
            bitmap = first & U64 if shift else 0
            if not step and entry in (0, layout.ZERO) and not bitmap & ALL:
                continue
            offset = entry & layout.OFFSET_MASK
            if (
                (step == stride or count == 1)
                and not (entry ^ final) & ~layout.OFFSET_MASK
                and not entry & (layout.COMPRESSED | layout.L2_RESERVED)
                and not offset & size - 1
                and not bitmap >> 32 & bitmap
                and is_allocated(header, entry)
                and (header.data_file or offset + (count - 1 << bits) < self._end)
            ):
                if active:
                    self.allocated += count
                    self.fragmented += bool(expected and offset != expected)
                    expected = offset + (count << bits)
                    sure = sure and self._flags_right(entry, offset, count)
                if not header.data_file:
                    yield from self.add(offset, count << bits)
                continue
            for at in range(count):
                value = first + step * at
                entry = value >> shift
                if plain_compressed == entry & (layout.COMPRESSED | layout.COPIED) and not (value & U64 and shift):
                    if active:
                        self.allocated += 1
                        self.compressed += 1
                        self.fragmented += 1
                    yield from self.add(*compressed_place(header, entry))
                    continue
                bitmap = value & U64 if shift else 0
                if active:
                    expected = self._tell(entry, bitmap, expected)
                    sure = sure and self._flag_right(entry)
                yield from self._add_entry(entry, bitmap, index + at)
        if active and not sure:
            self.doubtful.append(number)

    def _tell(self, entry: int, bitmap: int, expected: int) -> int:
        """Count an entry of the active disk; where the next one must lie not to be fragmented (0: anywhere)."""
        if entry & layout.COMPRESSED:
            if not self.header.data_file and not bitmap:
                self.allocated += 1
                self.compressed += 1
                self.fragmented += 1
            return expected
        if not is_allocated(self.header, entry):
            return expected
        offset = entry & layout.OFFSET_MASK
        self.allocated += 1
        self.fragmented += bool(expected and offset != expected)
        return offset + self.header.cluster_size

    def _add_entry(self, entry: int, bitmap: int, index: int) -> Iterator[Finding]:
        header = self.header
        if entry & layout.COMPRESSED:
            yield from self._add_compressed(entry, bitmap, index)
            return
        if entry & layout.L2_RESERVED:
            yield corruption(f"ERROR found l2 entry with reserved bits set: {entry:x}")
        offset = entry & layout.OFFSET_MASK
        if not is_allocated(header, entry):
            if bitmap & ALL:
                yield corruption("ERROR: Unallocated cluster has non-zero subcluster allocation map")
            return
        if bitmap >> 32 & bitmap:
            yield corruption(f"ERROR offset={offset:x}: Allocated cluster has corrupted subcluster allocation bitmap")
        if offset % header.cluster_size:
            data = bitmap & ALL if header.extended_l2 else not entry & layout.ZERO
            what = "Data" if data else "Preallocated"
            yield corruption(f"ERROR offset={offset:x}: {what} cluster is not properly aligned; L2 entry corrupted.")
        if not header.data_file:
            yield from self.add(offset, header.cluster_size)

    def _add_compressed(self, entry: int, bitmap: int, index: int) -> Iterator[Finding]:
        header = self.header
        if entry & layout.COPIED:
            place = entry & (1 << layout.compressed_field_bits(header.cluster_bits)) - 1
            yield corruption(f"ERROR: coffset=0x{place:x}: copied flag must never be set for compressed clusters")
            entry &= ~layout.COPIED
        if header.data_file:
            yield corruption(f"ERROR compressed cluster {index} with data file, entry=0x{entry:x}")
            return
        if bitmap:
            yield corruption(
                f"ERROR compressed cluster {index} with non-zero subcluster allocation bitmap, entry=0x{entry:x}"
            )
            return
        yield from self.add(*compressed_place(header, entry))

    def _flags_right(self, entry: int, offset: int, count: int) -> bool:
        if self.header.data_file:
            return bool(entry & layout.COPIED)
        try:
            return self._refcounts.uniform(offset >> self.header.cluster_bits, count, bool(entry & layout.COPIED))
        except UnreadableBlockError:
            return False

    def _flag_right(self, entry: int) -> bool:
        if entry & layout.COMPRESSED or not is_allocated(self.header, entry):
            return True
        return self._flags_right(entry, entry & layout.OFFSET_MASK, 1)


def is_allocated(header: Header, entry: int) -> bool:
    """Whether a standard L2 entry has a host cluster; in a data file that may be the one at 0."""
    if entry & layout.OFFSET_MASK:
        return True
    return bool(header.data_file and entry & layout.COPIED) and not (entry & layout.ZERO and not header.extended_l2)
