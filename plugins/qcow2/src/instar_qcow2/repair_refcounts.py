"""Refcounts made what was counted: in place where all of them have a place, else all structures anew.

Source: docs/interop/qcow2.txt of QEMU, "Host cluster management".
"""

from __future__ import annotations

from array import array

from instar_core.errors import ErrorKind, FormatError
from instar_core.types import Put, Truncate
from instar_qcow2 import limits
from instar_qcow2.released import Released
from instar_qcow2.shadow import big_endian, put_pieces
from instar_qcow2.sizes import ceil_div, refcounts_per_block

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from instar_core.source import Source
    from instar_core.types import Edit
    from instar_qcow2.compare import Comparison
    from instar_qcow2.refcounts import Refcounts
    from instar_qcow2.references import References
    from instar_qcow2.survey import Survey

SECTOR = 512
SCAN = 1 << 16
"""Clusters that are looked at together for a free one."""


class Free:
    """Clusters that nothing refers to, given out from the front of the file and then past its end.

    What is given out counts as referenced once from then on.
    """

    __slots__ = ("_from", "_references", "end")

    def __init__(self, references: References) -> None:
        self._references = references
        self._from = 0
        self.end = references.clusters
        """Clusters of the file with all that was given out."""

    def take(self, count: int = 1) -> int:
        """The number of the first of `count` adjacent clusters."""
        tally = self._references.tally
        wanted = bytes(count)
        first = -1
        at = self._from
        while at < self.end:
            found = tally.narrow(at, min(self.end - at, SCAN + count)).find(wanted)
            if found >= 0:
                first = at + found
                break
            at += SCAN
        if first < 0:
            first = self.end
            while first > self._from and not tally[first - 1] and self.end - first < count:
                first -= 1
        if count == 1:
            self._from = first + 1
        self.end = max(self.end, first + count)
        tally.add(first, count)
        return first


class Rebuilt:
    """New refcount structures for all that is referenced: places are taken when it is made."""

    __slots__ = ("_places", "_released", "_survey", "table_clusters", "table_offset")

    def __init__(self, survey: Survey, free: Free, released: Released) -> None:
        """Raises FormatError where the table would be larger than images may have."""
        header = survey.header
        self._survey = survey
        self._released = released
        per_block = refcounts_per_block(header.cluster_bits, header.refcount_order)
        tally = survey.references.tally
        self._places: dict[int, int] = {}
        number = 0
        self.table_clusters = 0
        first = 0
        while True:
            while number * per_block < free.end:
                if number not in self._places and any(
                    tally.narrow(start, some).rstrip(b"\0")
                    for start, some in tally.referenced(number * per_block, per_block)
                ):
                    place = self._places[number] = free.take()
                    number = min(number, place // per_block)
                    continue
                number += 1
            wanted = ceil_div(8 * (max(self._places) + 1), header.cluster_size)
            if wanted << header.cluster_bits > limits.REFCOUNT_TABLE:
                raise FormatError("File too large", kind=ErrorKind.LIMIT)
            if wanted <= self.table_clusters:
                break
            self.table_clusters = wanted
            first = free.take(wanted)
            number = first // per_block
        self.table_offset = first << header.cluster_bits

    def puts(self) -> Iterator[Put]:
        """The blocks and the table."""
        header = self._survey.header
        per_block = refcounts_per_block(header.cluster_bits, header.refcount_order)
        words = array("Q", bytes(self.table_clusters << header.cluster_bits))
        for number, place in sorted(self._places.items()):
            counts = self._released.counts(number * per_block, per_block)
            yield Put(place << header.cluster_bits, encoded(counts, header.refcount_bits))
            words[number] = place << header.cluster_bits
        yield from put_pieces(self.table_offset, big_endian(words))


def encoded(counts: list[int], bits: int) -> bytes:
    """A refcount block as stored."""
    if bits >= 8:
        code = {8: "B", 16: "H", 32: "I", 64: "Q"}[bits]
        made = array(code, counts)
        if bits > 8:
            import sys

            if sys.byteorder == "little":
                made.byteswap()
        return made.tobytes()
    each = 8 // bits
    data = bytes(counts)
    total = 0
    for at in range(each):
        total |= int.from_bytes(data[at::each], "big") << bits * at
    return total.to_bytes(len(counts) // each, "big")


def recounted(
    source: Source, refcounts: Refcounts, comparison: Comparison, *, raises: bool, lowers: bool, bits: int
) -> Iterator[Put]:
    """The sectors of refcount blocks in which refcounts go up or down, as they are after that.

    What was raised before stays raised when others are lowered with `raises` too.
    """
    at, sector = -1, bytearray()
    for cluster, stored, counted in comparison.differences():
        if not (raises if counted > stored else lowers):
            continue
        place = refcounts.place(cluster // refcounts.per_block) + (cluster % refcounts.per_block) * bits // 8
        start = place & ~(SECTOR - 1)
        if start != at:
            if sector:
                yield Put(at, bytes(sector))
            at, sector = start, bytearray(source.read(start, SECTOR, pad=True))
        set_count(sector, place - start, bits, cluster, counted)
    if sector:
        yield Put(at, bytes(sector))


def set_count(data: bytearray, at: int, bits: int, cluster: int, value: int) -> None:
    """The refcount of this cluster, which stands in the byte `at` and those after it."""
    if bits >= 8:
        data[at : at + bits // 8] = value.to_bytes(bits // 8, "big")
        return
    shift = cluster % (8 // bits) * bits
    mask = (1 << bits) - 1 << shift
    data[at] = data[at] & ~mask | value << shift


def room(source: Source, survey: Survey, free: Free) -> Iterator[Edit]:
    """The file reaches as far as what was given out."""
    end = free.end << survey.header.cluster_bits
    if free.end > survey.references.clusters and end > source.size:
        yield Truncate(end)
