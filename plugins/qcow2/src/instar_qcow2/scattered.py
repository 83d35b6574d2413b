"""An L2 table whose clusters lie anywhere, counted as a whole.

Source: docs/interop/qcow2.txt of QEMU, "Cluster mapping".
"""

from __future__ import annotations

from itertools import compress, pairwise

from instar_core.tally import MANY, PAGE, ReferenceTally
from instar_qcow2 import layout
from instar_qcow2.fragments import masks, words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from instar_qcow2.header import Header

UNUSUAL = layout.COMPRESSED | layout.L2_RESERVED
SHIFT = PAGE.bit_length() - 1  # pages are a power of two


class Scattered:
    """The host clusters that a table refers to, in its order: those whose entries have COPIED set, and the others."""

    __slots__ = ("clusters", "copied", "others")

    def __init__(self, clusters: list[int], copied: list[int], others: list[int]) -> None:
        self.clusters = clusters
        self.copied = copied
        self.others = others

    def fragmented(self) -> int:
        """How many do not lie behind the one before."""
        clusters = self.clusters
        return sum([after - before != 1 for before, after in pairwise(clusters)])


def scattered(header: Header, data: bytes, end: int) -> Scattered | None:
    """The clusters of a table of entries of 64 bits, without an external data file.

    None where an entry is compressed, has reserved bits, is not aligned, or lies at byte `end` or after it.
    """
    count, size = len(data) // 8, header.cluster_size
    known = masks(count, size, header.version)
    table = int.from_bytes(data, "big")
    if table & known.one * (UNUSUAL | size - 1 & ~layout.ZERO):
        return None
    units = (table & known.one * layout.OFFSET_MASK) >> header.cluster_bits
    places = words("Q", units, count)
    clusters = list(filter(None, places))
    if clusters and max(clusters) << header.cluster_bits >= end:
        return None
    flags = bytes(compress((table >> 63 & known.one).to_bytes(8 * count, "big")[7::8], places))
    marked = flags.count(1)
    if marked == len(clusters):
        return Scattered(clusters, clusters, [])
    if not marked:
        return Scattered(clusters, [], clusters)
    others = compress(clusters, flags.translate(bytes((1, 0)) + bytes(254)))
    return Scattered(clusters, list(compress(clusters, flags)), list(others))


class ClusterTally(ReferenceTally):
    """The references of host clusters, also many at once that lie anywhere."""

    __slots__ = ()

    def add_each(self, clusters: Iterable[int]) -> list[int]:
        """Every one of these has one reference more, but for those at the ceiling: returned in their order."""
        full: list[int] = []
        low = min(self.ceiling, MANY - 1)
        here, page = -1, bytearray()
        for cluster in clusters:
            number = cluster >> SHIFT
            if number != here:
                here, page = number, self._dense.get(number) or self._open(number)
            at = cluster & PAGE - 1
            value = page[at]
            if value < low:
                page[at] = value + 1
            else:
                full += self.add(cluster)
        return full
