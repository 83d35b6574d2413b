"""Counting who refers to which host cluster. Source: docs/interop/qcow2.txt of QEMU, "Host cluster management"."""

from __future__ import annotations

from instar_core.errors import ErrorKind, FormatError
from instar_core.tally import ReferenceTally
from instar_core.types import Finding, Severity
from instar_qcow2 import layout
from instar_qcow2.layout import ALL, U64, compressed_place
from instar_qcow2.mending import Mending, is_allocated
from instar_qcow2.refcounts import UnreadableBlockError
from instar_qcow2.scattered import ClusterTally, scattered
from instar_qcow2.tablescan import equal_runs, l2_runs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from instar_core.source import Source
    from instar_qcow2.header import Header
    from instar_qcow2.refcounts import Refcounts
    from instar_qcow2.scattered import Scattered

WIDEN = (
    "Use qemu-img amend to increase the refcount entry width or qemu-img convert to create a clean copy if the "
    "image cannot be opened for writing"
)
FAR = (
    "ERROR: counting reference for region exceeding the end of the file by one cluster or more: "
    "offset 0x{offset:x} size 0x{size:x}"
)
OVERFLOWED = 1 << 16
"""Clusters that are remembered for having too many references."""

TABLES = 1 << 32
"""More L2 tables than one cluster can be."""

LINES = 1000
"""Findings after which those of an L2 table that was looked at before are counted but not told one by one again."""


def corruption(text: str, *, repairable: bool = False) -> Finding:
    """A finding that counts as a corruption."""
    return Finding(Severity.CORRUPTION, text, repairable=repairable)


class References:
    """What the image's metadata refers to, host cluster by host cluster, and how the active disk lies.

    `clusters` is the length of the file, and more where a last reference passes its end by less than a cluster.
    `doubtful` are the indices of active L2 tables in which a COPIED flag may be wrong, `tables` counts the L2 tables
    alone, `mendable` says whether some entry can be mended, `overflowed` has clusters with more references than count.

    Given what an earlier count found (`before`), it mends: entries count as what they are to be replaced by, and
    `patches` has these as (offset, words), for the caller to take. With `repairs` the findings say that tables past the
    end of the file are mended.
    """

    __slots__ = (
        "_bad",
        "_before",
        "_end",
        "_mended",
        "_refcounts",
        "_source",
        "_told",
        "allocated",
        "clusters",
        "compressed",
        "doubtful",
        "fragmented",
        "header",
        "mendable",
        "mending",
        "overflowed",
        "patches",
        "repairs",
        "tables",
        "tally",
    )

    def __init__(
        self,
        source: Source,
        header: Header,
        refcounts: Refcounts,
        before: References | None = None,
        *,
        repairs: bool = False,
    ) -> None:
        self._source = source
        self._end = source.size + 511 & ~511
        self.header = header
        self._refcounts = refcounts
        self.mending = Mending(header, self._end)
        self._before = before
        self.repairs = repairs
        self._mended: set[int] = set()
        self._bad: set[int] = set()
        self._told = 0
        self.patches: list[tuple[int, bytes]] = []
        self.mendable = False
        self.overflowed: set[int] = set()
        self.tables = ReferenceTally(TABLES)
        self.tally = ClusterTally((1 << header.refcount_bits) - 1)
        self.clusters = -(-source.size >> header.cluster_bits)
        self.allocated = self.fragmented = self.compressed = 0
        self.doubtful: list[int] = []

    def add(self, offset: int, size: int) -> Sequence[Finding]:
        """Count a reference to every cluster of `size` bytes at `offset`; what is wrong with that is returned."""
        if size <= 0:
            return ()
        bits = self.header.cluster_bits
        if self.mending.far(offset, size):
            return (corruption(FAR.format(offset=offset, size=size)),)
        first, last = offset >> bits, offset + size - 1 >> bits
        self.clusters = max(self.clusters, last + 1)
        return self._overflow(self.tally.add(first, last - first + 1))

    def _overflow(self, full: list[int]) -> Sequence[Finding]:
        if not full:
            return ()
        bits = self.header.cluster_bits
        if len(self.overflowed) < OVERFLOWED:
            self.overflowed.update(full[:OVERFLOWED])
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
        if self.mending.far(offset, 8 * entries) and not offset >> 62:
            yield far(offset, 8 * entries, self.repairs, repairable=True)
        else:
            yield from self.add(offset, 8 * entries)
        if offset >> 63:
            yield Finding(Severity.NOTE, "ERROR: I/O error in check_refcounts_l1")
            raise FormatError("Input/output error", kind=ErrorKind.OUT_OF_BOUNDS, offset=offset)
        mends = self.sole(offset, 8 * entries)
        for index, count, entry in equal_runs(self._source, offset, entries):
            sound = self.mending.l1(entry)
            for number in range(index, index + count):
                yield from self._add_l1_entry(offset + 8 * number, entry, sound, number, active, mends)

    def sole(self, offset: int, size: int) -> bool:
        """Whether a table may be mended: this is wanted, and nothing else lies in its clusters."""
        before, bits = self._before, self.header.cluster_bits
        if before is None or offset % self.header.cluster_size:
            return False
        return all(before.tally[cluster] == 1 for cluster in range(offset >> bits, (offset + size - 1 >> bits) + 1))

    def sole_table(self, table: int) -> bool:
        """As sole, for an L2 table, which several L1 entries may share."""
        before, cluster = self._before, table >> self.header.cluster_bits
        if before is None or table % self.header.cluster_size:
            return False
        return before.tally[cluster] == before.tables[cluster]

    def _add_l1_entry(
        self, place: int, entry: int, sound: int, number: int, active: bool, mends: bool
    ) -> Iterator[Finding]:
        header = self.header
        table = entry & layout.OFFSET_MASK
        self.mendable |= sound != entry
        mends = mends and sound != entry
        if mends:
            self.patches.append((place, sound.to_bytes(8, "big")))
        if entry & layout.L1_RESERVED:
            yield reserved("L1 entry", entry, mends, not sound & layout.L1_RESERVED)
        if self.mending.far(table, header.cluster_size):
            yield far(table, header.cluster_size, mends, not sound)
            if mends:
                return
        else:
            self.tables.add(table >> header.cluster_bits)
            yield from self.add(table, header.cluster_size)
        if table % header.cluster_size:
            yield corruption(f"ERROR l2_offset={table:x}: Table is not cluster aligned; L1 entry corrupted")
        if table not in self._bad or self._told < LINES:
            for finding in self._add_l2(table, number, active):
                self._told += 1
                self._bad.add(table)
                yield finding
        else:
            yield from self._told_before(table, number, active)
        if table in self._bad and self.sole_table(table):
            self._mended.add(table)

    def _told_before(self, table: int, number: int, active: bool) -> Iterator[Finding]:
        """The findings of an L2 table that was looked at before, one for all of a severity."""
        counts = {Severity.NOTE: 0, Severity.CORRUPTION: 0}
        for finding in self._add_l2(table, number, active):
            counts[finding.severity] += finding.count
        for severity, count in counts.items():
            if count:
                text = f"ERROR the {count} problems of the L2 table at 0x{table:x} once more, for L1 entry {number}"
                yield Finding(severity, text, table, count)

    def _add_l2(self, table: int, number: int, active: bool) -> Iterator[Finding]:
        header = self.header
        size, bits, width = header.cluster_size, header.cluster_bits, header.l2_entry_size
        shift = 64 if width == 16 else 0
        stride = size << shift
        expected = 0
        sure = active
        mends: bool | None = None
        plain_compressed = -1 if header.data_file else layout.COMPRESSED
        runs, whole = l2_runs(self._source, header, table, header.l2_entries)
        found = None if whole is None else scattered(header, whole, self._end)
        if found is not None:
            yield from self._add_scattered(found, number, active)
            return
        for index, count, first, step in runs:
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
                bitmap = value & U64 if shift else 0
                if plain_compressed == entry & (layout.COMPRESSED | layout.COPIED) and not bitmap:
                    if active:
                        self.allocated += 1
                        self.compressed += 1
                        self.fragmented += 1
                    yield from self.add(*compressed_place(header, entry))
                    continue
                sound_entry, sound_bitmap = self.mending.l2(entry, bitmap)
                if (sound_entry, sound_bitmap) != (entry, bitmap):
                    mends = self.sole_table(table) if mends is None else mends
                    yield from self._unsound(table, index + at, (entry, bitmap), (sound_entry, sound_bitmap), mends)
                    if mends:
                        entry, bitmap = sound_entry, sound_bitmap
                else:
                    yield from map(corruption, self._faults(entry, bitmap, index + at))
                if active:
                    expected = self._tell(entry, bitmap, expected)
                    sure = sure and self._flag_right(entry)
                yield from self._count(entry, bitmap)
        if active and not sure:
            self.doubtful.append(number)

    def _add_scattered(self, found: Scattered, number: int, active: bool) -> Iterator[Finding]:
        if not found.clusters:
            return
        if active:
            self.allocated += len(found.clusters)
            self.fragmented += found.fragmented()
            if not (self._refcounts.ones(found.copied) and self._refcounts.ones(found.others, none=True)):
                self.doubtful.append(number)
        self.clusters = max(self.clusters, max(found.clusters) + 1)
        yield from self._overflow(self.tally.add_each(found.clusters))

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

    def _unsound(
        self, table: int, index: int, old: tuple[int, int], new: tuple[int, int], mends: bool
    ) -> Iterator[Finding]:
        """What is wrong with an entry that can be mended, wholly or in part."""
        self.mendable = True
        left = self._faults(*new, index)
        aligned = not table % self.header.cluster_size
        if not mends or table not in self._mended:
            for fault in self._faults(*old, index):
                if fault not in left:
                    yield corruption(repairing(fault) if mends else fault, repairable=aligned)
        yield from map(corruption, left)
        if mends and table not in self._mended:
            width = self.header.l2_entry_size
            words = new[0].to_bytes(8, "big") + (new[1].to_bytes(8, "big") if width == 16 else b"")
            self.patches.append((table + index * width, words))

    def _faults(self, entry: int, bitmap: int, index: int) -> list[str]:
        """What is wrong with an L2 entry by itself, in qemu's words."""
        header = self.header
        if entry & layout.COMPRESSED:
            return self._compressed_faults(entry, bitmap, index)
        found = []
        if entry & layout.L2_RESERVED:
            found.append(f"ERROR found l2 entry with reserved bits set: {entry:x}")
        offset = entry & layout.OFFSET_MASK
        if not is_allocated(header, entry):
            if bitmap & ALL:
                found.append("ERROR: Unallocated cluster has non-zero subcluster allocation map")
            return found
        if bitmap >> 32 & bitmap:
            found.append(f"ERROR offset={offset:x}: Allocated cluster has corrupted subcluster allocation bitmap")
        if offset % header.cluster_size:
            data = bitmap & ALL if header.extended_l2 else not entry & layout.ZERO
            what = "Data" if data else "Preallocated"
            found.append(f"ERROR offset={offset:x}: {what} cluster is not properly aligned; L2 entry corrupted.")
        if not header.data_file and self.mending.far(offset, header.cluster_size):
            found.append(FAR.format(offset=offset, size=header.cluster_size))
        return found

    def _compressed_faults(self, entry: int, bitmap: int, index: int) -> list[str]:
        found = []
        if entry & layout.COPIED:
            place = entry & (1 << layout.compressed_field_bits(self.header.cluster_bits)) - 1
            found.append(f"ERROR: coffset=0x{place:x}: copied flag must never be set for compressed clusters")
            entry &= ~layout.COPIED
        if self.header.data_file:
            found.append(f"ERROR compressed cluster {index} with data file, entry=0x{entry:x}")
        elif bitmap:
            found.append(
                f"ERROR compressed cluster {index} with non-zero subcluster allocation bitmap, entry=0x{entry:x}"
            )
        return found

    def _count(self, entry: int, bitmap: int) -> Sequence[Finding]:
        """Count what an L2 entry refers to, but for what was said to be past the end of the file."""
        header = self.header
        if header.data_file:
            return ()
        if entry & layout.COMPRESSED:
            return () if bitmap else self.add(*compressed_place(header, entry & ~layout.COPIED))
        offset = entry & layout.OFFSET_MASK
        if not offset or self.mending.far(offset, header.cluster_size):
            return ()
        return self.add(offset, header.cluster_size)

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


def repairing(text: str) -> str:
    """The line of a fault that is being mended."""
    text = text.replace("ERROR: counting reference for region", "ERROR reference to a region")
    for word in ("ERROR: ", "ERROR found ", "ERROR "):
        if text.startswith(word):
            return "Repairing " + text[len(word) :]
    return text


def reserved(what: str, entry: int, mends: bool, repairable: bool) -> Finding:
    """The finding of reserved bits in an entry."""
    text = f"ERROR found {what} with reserved bits set: {entry:x}"
    return corruption(repairing(text) if mends else text, repairable=repairable)


def far(offset: int, size: int, mends: bool, repairable: bool) -> Finding:
    """The finding of a reference to what lies past the end of the file."""
    text = FAR.format(offset=offset, size=size)
    return corruption(repairing(text) if mends else text, repairable=repairable)
