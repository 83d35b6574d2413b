"""All refcounts of an existing image in memory, for changing them together. Source: docs/interop/qcow2.txt of QEMU.

The refcounts that the image stores decide what is free; a cluster that becomes free in the change is never given out
again in it, so that the state before the change stays whole until the new one is committed.
"""

from __future__ import annotations

import sys
from array import array

from instar_core.errors import ErrorKind, FormatError
from instar_core.limits import MIB
from instar_qcow2 import layout

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from instar_core.source import Source
    from instar_qcow2.header import Header

MEMORY = 256 * MIB
"""Most bytes of refcounts that are held: those of an 8 TiB file with 64 KiB clusters and 16-bit refcounts."""

FAR_BLOCKS = 64
"""Refcount blocks that may lie beyond twice the file's own clusters: an image that was about to grow has a few."""

FREE_RUNS = 4096
"""Free stretches that are remembered; a file more fragmented than that grows instead."""

CHUNK = 4096
CODES = {8: "B", 16: "H", 32: "I", 64: "Q"}
"""Type codes of arrays by the width of a refcount in bits; narrower ones take a byte each in memory."""


class HostClusters:
    """Refcounts by host cluster number. `end` is where the file may grow: no cluster from there on is in use.

    `places` holds the offset of each refcount block (0: none) and `dirty` the numbers of blocks whose counts changed.
    """

    __slots__ = (
        "_before",
        "_bits",
        "_code",
        "_counts",
        "_free",
        "_header",
        "dirty",
        "end",
        "most",
        "per_block",
        "places",
    )

    def __init__(self, source: Source, header: Header) -> None:
        self._header = header
        self._bits = header.refcount_bits
        self._code = CODES.get(self._bits, "B")
        self.per_block = 8 * header.cluster_size // self._bits
        self.most = (1 << self._bits) - 1
        self.dirty: set[int] = set()
        self.places = self._load_table(source)
        self._counts = array(self._code)
        for place in self.places:
            self._counts += self._decode(source.read(place, header.cluster_size, pad=True) if place else b"")
        if not self[0]:
            raise unreferenced(0)
        self._before = self._counts[:]
        # A device is longer than what its refcounts know of, and cannot grow: what they do not know of is free.
        inside = min(source.size + header.cluster_size - 1 >> header.cluster_bits, len(self._counts))
        self.end = max(inside, self._used())
        self._free = list(self._free_runs())

    def __getitem__(self, cluster: int) -> int:
        """The refcount of a host cluster."""
        return self._counts[cluster] if cluster < len(self._counts) else 0

    def refer(self, first: int, count: int, change: int) -> None:
        """The refcounts of `count` clusters in use go up or down by 1.

        Raises FormatError: CORRUPT where one of them is 0, LIMIT where one is the largest the image can store.
        """
        end = first + count
        if end > len(self._counts):
            raise unreferenced(first << self._header.cluster_bits)
        self._touch(first, count)
        while first < end:
            value = self._counts[first]
            some = self._alike(first, end)
            if not value:
                raise unreferenced(first << self._header.cluster_bits)
            if change > 0 and value == self.most:
                raise FormatError("Invalid argument", kind=ErrorKind.LIMIT, offset=first << self._header.cluster_bits)
            self._counts[first : first + some] = array(self._code, (value + change,)) * some
            first += some

    def refer_bytes(self, offset: int, length: int, change: int) -> None:
        """Like refer, for the clusters that hold these bytes."""
        bits = self._header.cluster_bits
        if length:
            self.refer(offset >> bits, (offset + length - 1 >> bits) - (offset >> bits) + 1, change)

    def ones(self, first: int, count: int) -> int | None:
        """1 if all these clusters have refcount 1, 0 if none has, None if some have. None of them may be 0."""
        part = self._counts[first : first + count]
        if len(part) < count or not part[0]:
            raise unreferenced(first << self._header.cluster_bits)
        if part == array(self._code, part[:1]) * count:
            return int(part[0] == 1)
        if 0 in part:
            raise unreferenced(first + part.index(0) << self._header.cluster_bits)
        return None if 1 in part else 0

    def take(self, count: int, refcount: int = 1) -> int:
        """The offset of `count` contiguous clusters that were free, which now have this refcount."""
        for index, (first, have) in enumerate(self._free):
            if have >= count:
                self._free[index] = (first + count, have - count)
                if have == count:
                    del self._free[index]
                break
        else:
            first = self.end
            self.end += count
            missing = -(-self.end // self.per_block) * self.per_block - len(self._counts)
            if (len(self._counts) + missing) * self._counts.itemsize > MEMORY:
                raise FormatError("The image has too many clusters to change it in place", kind=ErrorKind.LIMIT)
            if missing > 0:
                self._counts.frombytes(bytes(missing * self._counts.itemsize))
                self.places.extend([0] * (len(self._counts) // self.per_block - len(self.places)))
        if refcount > self.most:
            raise FormatError("Invalid argument", kind=ErrorKind.LIMIT)
        self._touch(first, count)
        self._counts[first : first + count] = array(self._code, (refcount,)) * count
        return first << self._header.cluster_bits

    def append(self, count: int, refcount: int = 1) -> int:
        """The offset of `count` contiguous clusters behind all others, which now have this refcount: where they pass
        the end of the file, they read as zeros."""
        kept, self._free = self._free, []
        try:
            return self.take(count, refcount)
        finally:
            self._free = kept

    def before(self, cluster: int) -> int:
        """The refcount of a host cluster before all changes."""
        return self._before[cluster] if cluster < len(self._before) else 0

    def encode(self, number: int) -> bytes:
        """The refcount block of this number."""
        return encoded(self.counts(number * self.per_block, self.per_block), self._bits)

    def encode_before(self, number: int) -> bytes:
        """The refcount block of this number as it was before all changes."""
        return encoded(self._old(number), self._bits)

    def encode_raised(self, number: int) -> bytes:
        """The refcount block of this number with what went up as it is now, and what went down as it was."""
        now = self.counts(number * self.per_block, self.per_block)
        return encoded(array(self._code, map(max, now, self._old(number))), self._bits)

    def _old(self, number: int) -> array[int]:
        part = self._before[number * self.per_block : (number + 1) * self.per_block]
        part.frombytes(bytes((self.per_block - len(part)) * part.itemsize))
        return part

    def counts(self, first: int, count: int) -> array[int]:
        """The refcounts of these clusters; 0 where none is stored."""
        part = self._counts[first : first + count]
        part.frombytes(bytes((count - len(part)) * part.itemsize))
        return part

    def counts_only(self, number: int, place: int) -> bool:
        """Whether the block of this number, which lies at `place`, counts no cluster, or none but itself."""
        part = self._counts[number * self.per_block : (number + 1) * self.per_block]
        own = (place >> self._header.cluster_bits) - number * self.per_block
        if 0 <= own < len(part) and part[own] == 1:
            part[own] = 0
        return part == array(self._code, bytes(len(part) * part.itemsize))

    def used(self) -> int:
        """Number of the first cluster from which on all refcounts are 0."""
        return self._used()

    def freed(self) -> Iterator[tuple[int, int]]:
        """(offset, length) of what was in use before the changes and is not any more, ascending."""
        bits = self._header.cluster_bits
        start = end = 0
        for cluster in self._freed():
            if cluster != end:
                if end > start:
                    yield start << bits, end - start << bits
                start = cluster
            end = cluster + 1
        if end > start:
            yield start << bits, end - start << bits

    def _freed(self) -> Iterator[int]:
        for at in range(0, len(self._before), CHUNK):
            before = self._before[at : at + CHUNK]
            now = self._counts[at : at + len(before)]
            if before != now and 0 in now:
                for index, (old, new) in enumerate(zip(before, now, strict=True)):
                    if old and not new:
                        yield at + index

    def _touch(self, first: int, count: int) -> None:
        self.dirty.update(range(first // self.per_block, (first + count - 1) // self.per_block + 1))

    def _alike(self, first: int, end: int) -> int:
        """How many refcounts from `first` on are certainly equal to it: all up to `end`, or a part."""
        value = self._counts[first : first + 1]
        size = end - first
        while size > 1 and self._counts[first : first + size] != value * size:
            size = (size + 7) // 8
        return size

    def _load_table(self, source: Source) -> list[int]:
        header = self._header
        entries = (header.refcount_table_clusters << header.cluster_bits) // 8
        table = source.table(8, header.refcount_table_offset, entries, pad=True)
        places = [entry & layout.REFTABLE_OFFSET_MASK for entry in table]
        while places and not places[-1]:
            places.pop()
        for place in places:
            if place & header.cluster_size - 1:
                raise FormatError("A refcount block is not cluster aligned", kind=ErrorKind.CORRUPT, offset=place)
        reach = 2 * (source.size >> header.cluster_bits) + FAR_BLOCKS * self.per_block
        if len(places) * self.per_block > reach:
            raise FormatError(
                "The refcount table goes on far past the end of the file; repair the image first (check -r all)",
                kind=ErrorKind.CORRUPT,
                offset=header.refcount_table_offset + 8 * len(places) - 8,
            )
        if len(places) * self.per_block * max(1, self._bits // 8) > MEMORY:
            raise FormatError("The image has too many clusters to change it in place", kind=ErrorKind.LIMIT)
        return places

    def _decode(self, block: bytes) -> array[int]:
        if not block:
            return array(self._code, bytes(self.per_block * max(1, self._bits // 8)))
        if self._bits >= 8:
            made = array(self._code, block)
            if sys.byteorder == "little":
                made.byteswap()
            return made
        each = 8 // self._bits
        wide = bytearray(self.per_block)
        for at in range(each):
            wide[at::each] = block.translate(bytes(byte >> self._bits * at & self.most for byte in range(256)))
        return array("B", bytes(wide))

    def _used(self) -> int:
        """Number of the first cluster from which on all refcounts are 0."""
        at = len(self._counts)
        while at:
            part = self._counts[max(0, at - CHUNK) : at]
            if any(part):
                while not self._counts[at - 1]:
                    at -= 1
                return at
            at -= len(part)
        return 0

    def _free_runs(self) -> Iterator[tuple[int, int]]:
        """(first, count) of free stretches before `end`, as many as are remembered."""
        counts, end = self._counts, min(self.end, len(self._counts))
        at = 0
        for _ in range(FREE_RUNS):
            try:
                at = counts.index(0, at, end)
            except ValueError:
                return
            stop, step = at + 1, 1
            while stop < end and step:
                if counts[stop : stop + step] == array(self._code, bytes(step * counts.itemsize)):
                    stop, step = stop + step, step * 2
                else:
                    step //= 2
            stop = min(stop, end)
            yield at, stop - at
            at = stop


def encoded(counts: array[int], bits: int) -> bytes:
    """Refcounts as they are stored with a width of so many bits, which they must fit in."""
    part = array(CODES.get(bits, "B"), counts)
    if bits >= 8:
        if sys.byteorder == "little":
            part.byteswap()
        return part.tobytes()
    each = 8 // bits
    data = part.tobytes()
    total = 0
    for at in range(each):
        total |= int.from_bytes(data[at::each], "big") << bits * at
    return total.to_bytes(len(part) // each, "big")


def unreferenced(offset: int) -> FormatError:
    """The error of a cluster that is referred to but counted as free: it must be repaired first."""
    return FormatError(
        f"The cluster at {offset:#x} is in use but its refcount is 0; repair the image first (check -r all)",
        kind=ErrorKind.CORRUPT,
        offset=offset,
    )
