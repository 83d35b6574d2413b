"""References that a repair gives up, over those that were counted. Source: docs/interop/qcow2.txt of QEMU."""

from __future__ import annotations

from instar_core.tally import MANY
from instar_qcow2 import layout
from instar_qcow2.refcounts import ONE
from instar_qcow2.tablescan import equal_runs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from instar_core.source import Source
    from instar_qcow2.references import References
    from instar_qcow2.survey import Survey


class Released:
    """References that will be gone: the number of clusters by cluster, over what was counted."""

    __slots__ = ("_gone", "_references")

    def __init__(self, references: References) -> None:
        self._references = references
        self._gone: dict[int, int] = {}

    def add(self, offset: int, length: int) -> None:
        """The clusters of these bytes have one reference less, if these were counted."""
        bits = self._references.header.cluster_bits
        if length <= 0 or self._references.mending.far(offset, length):
            return
        for cluster in range(offset >> bits, (offset + length - 1 >> bits) + 1):
            self._gone[cluster] = self._gone.get(cluster, 0) + 1

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """(cluster, references that go), ascending."""
        return iter(sorted(self._gone.items()))

    def counts(self, first: int, count: int) -> list[int]:
        """The references of these clusters that will be left."""
        tally, gone = self._references.tally, self._gone
        found = list(tally.narrow(first, count))
        for at, value in enumerate(found):
            if value == MANY:
                found[at] = tally[first + at]
        if gone:
            for at in range(count):
                less = gone.get(first + at)
                if less:
                    found[at] = max(0, found[at] - less)
        return found

    def __getitem__(self, cluster: int) -> int:
        return self._references.tally[cluster] - self._gone.get(cluster, 0)

    def uniform(self, first: int, count: int, one: bool) -> bool:
        """Whether each of these clusters has one reference left, or with `one` false none has."""
        if not self._gone.keys().isdisjoint(range(first, first + count)):
            return all((left == 1) == one for left in self.counts(first, count))
        counts = self._references.tally.narrow(first, count)
        return counts == ONE * count if one else ONE not in counts


def release_structures(source: Source, survey: Survey, released: Released) -> None:
    """The refcount table and every refcount block that was counted will be gone."""
    header, refcounts = survey.header, survey.refcounts
    released.add(header.refcount_table_offset, header.refcount_table_clusters << header.cluster_bits)
    for index, count, entry in equal_runs(source, refcounts.table_offset, refcounts.entries):
        for number in range(index, index + count):
            if not survey.refcount_block_fault(number, entry):
                released.add(entry & layout.REFTABLE_OFFSET_MASK, header.cluster_size)
