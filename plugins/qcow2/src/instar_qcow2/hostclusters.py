"""All refcounts of an existing image in memory, for changing them together. Source: docs/interop/qcow2.txt of QEMU.

The refcounts that the image stores decide what is free; a cluster that becomes free in the change is never given out
again in it, so that the state before the change stays whole until the new one is committed.
"""

from __future__ import annotations

from array import array

from instar_core.errors import ErrorKind, FormatError
from instar_core.limits import MIB
from instar_qcow2 import layout
from instar_qcow2.counters import bytes_of, decoded, encoded, widened

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from instar_core.source import Source
    from instar_qcow2.header import Header

MEMORY = 256 * MIB
"""Most bytes of refcounts that are held: those of a 16 TiB file with 64 KiB clusters, a byte each."""

FAR_BLOCKS = 64
"""Refcount blocks that may lie beyond twice the file's own clusters: an image that was about to grow has a few."""

FREE_RUNS = 4096
"""Free stretches that are remembered; a file more fragmented than that grows instead."""

CHUNK, STRETCH = 4096, 64
"""Refcounts that are compared at once, where hardly any or a few differ."""


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
        self.per_block = 8 * header.cluster_size // self._bits
        self.most = (1 << self._bits) - 1
        self.dirty: set[int] = set()
        self.places = self._load_table(source)
        self._counts = self._load(source)
        if not self[0]:
            raise unreferenced(0)
        self._before: dict[int, array[int]] = {}
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
            self._set(first, some, value + change)
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
        if part == part[:1] * count:
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
            _bounded((len(self._counts) + missing) * self._counts.itemsize)
            if missing > 0:
                self._counts.frombytes(bytes(missing * self._counts.itemsize))
                self.places.extend([0] * (len(self._counts) // self.per_block - len(self.places)))
        if refcount > self.most:
            raise FormatError("Invalid argument", kind=ErrorKind.LIMIT)
        self._touch(first, count)
        self._set(first, count, refcount)
        return first << self._header.cluster_bits

    def append(self, count: int, refcount: int = 1) -> int:
        """The offset of `count` contiguous clusters behind all others, which now have this refcount: where they pass
        the end of the file, they read as zeros."""
        kept, self._free = self._free, []
        try:
            return self.take(count, refcount)
        finally:
            self._free = kept

    def place_blocks(self) -> list[int]:
        """The numbers of the blocks whose counts changed and which had no place: each has one now."""
        fresh: list[int] = []
        while missing := [number for number in sorted(self.dirty) if not self.places[number]]:
            for number in missing:
                self.places[number] = self.take(1)
            fresh += missing
        return fresh

    def levels(self, fresh: Iterable[int]) -> list[list[int]]:
        """New blocks in the order in which a table can name them: each after the one that counts its cluster. The last
        list is empty where some count one another in a circle."""
        left, levels = set(fresh), []
        while left:
            holders = {number: (self.places[number] >> self._header.cluster_bits) // self.per_block for number in left}
            levels.append(sorted(n for n, holder in holders.items() if holder == n or holder not in left))
            if not levels[-1]:
                break
            left.difference_update(levels[-1])
        return levels

    def before(self, cluster: int) -> int:
        """The refcount of a host cluster before all changes."""
        number, at = divmod(cluster, self.per_block)
        return self._before[number][at] if number in self._before else self[cluster]

    def encode(self, number: int) -> bytes:
        """The refcount block of this number."""
        return encoded(self.counts(number * self.per_block, self.per_block), self._bits)

    def encode_before(self, number: int) -> bytes:
        """The refcount block of this number as it was before all changes."""
        return encoded(self._old(number), self._bits)

    def encode_raised(self, number: int) -> bytes:
        """The refcount block of this number with what went up as it is now, and what went down as it was."""
        raised = self.counts(number * self.per_block, self.per_block)
        before = self._old(number)
        for at in range(0, self.per_block, STRETCH):
            now, old = raised[at : at + STRETCH], before[at : at + STRETCH]
            if now != old:
                raised[at : at + STRETCH] = array(raised.typecode, map(max, now, old))
        return encoded(raised, self._bits)

    def _old(self, number: int) -> array[int]:
        before = self._before.get(number)
        return self.counts(number * self.per_block, self.per_block) if before is None else before

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
        return _blank(part)

    def used(self, without: Sequence[int] = ()) -> int:
        """Number of the first cluster from which on all refcounts are 0, or would be if these clusters were free."""
        held = {cluster: self._counts[cluster] for cluster in without if cluster < len(self._counts)}
        for cluster in held:
            self._counts[cluster] = 0
        end = self._used()
        for cluster, count in held.items():
            self._counts[cluster] = count
        return end

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
        for number in sorted(self._before):
            start = number * self.per_block
            for at in range(0, self.per_block, CHUNK):
                before = self._before[number][at : at + CHUNK]
                now = self.counts(start + at, len(before))
                if 0 in now and before != now:
                    for index, (old, new) in enumerate(zip(before, now, strict=True)):
                        if old and not new:
                            yield start + at + index

    def _touch(self, first: int, count: int) -> None:
        for number in range(first // self.per_block, (first + count - 1) // self.per_block + 1):
            self.dirty.add(number)
            if number not in self._before:
                self._before[number] = self.counts(number * self.per_block, self.per_block)

    def _set(self, first: int, count: int, value: int) -> None:
        """These clusters have the refcount; their block is touched already."""
        if value >> 8 * self._counts.itemsize:
            _bounded(len(self._counts) * bytes_of(value))
            self._counts = widened(self._counts, bytes_of(value))
        self._counts[first : first + count] = array(self._counts.typecode, (value,)) * count

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
        stored = source.read(header.refcount_table_offset, 8 * entries, pad=True)
        filled = -(-len(stored.rstrip(b"\0")) // 8)
        table = source.table(8, header.refcount_table_offset, filled, pad=True)
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
        _bounded(len(places) * self.per_block)
        return places

    def _load(self, source: Source) -> array[int]:
        """All stored refcounts, in items as wide as the largest needs."""
        counts = array("B")
        for place in self.places:
            block = source.read(place, self._header.cluster_size, pad=True) if place else b""
            part = decoded(block, self._bits) if block else array("B", bytes(self.per_block))
            if part.itemsize > counts.itemsize:
                counts = widened(counts, part.itemsize)
            counts += part if part.itemsize == counts.itemsize else widened(part, counts.itemsize)
            _bounded(len(counts) * counts.itemsize)
        return counts

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
                if _blank(counts[stop : stop + step]):
                    stop, step = stop + step, step * 2
                else:
                    step //= 2
            stop = min(stop, end)
            yield at, stop - at
            at = stop


def _blank(counts: array[int]) -> bool:
    return counts == array(counts.typecode, bytes(len(counts) * counts.itemsize))


def _bounded(size: int) -> None:
    """Raises FormatError where refcounts would take so many bytes of memory."""
    if size > MEMORY:
        raise FormatError("The image has too many clusters to change it in place", kind=ErrorKind.LIMIT)


def unreferenced(offset: int) -> FormatError:
    """The error of a cluster that is referred to but counted as free: it must be repaired first."""
    return FormatError(
        f"The cluster at {offset:#x} is in use but its refcount is 0; repair the image first (check -r all)",
        kind=ErrorKind.CORRUPT,
        offset=offset,
    )
