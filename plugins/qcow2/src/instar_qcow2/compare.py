"""Stored refcounts against the references that were counted. Source: docs/interop/qcow2.txt of QEMU."""

from __future__ import annotations

from instar_core.tally import unequal
from instar_core.types import Finding, Severity
from instar_qcow2.refcounts import UnreadableBlockError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from instar_qcow2.refcounts import Refcounts
    from instar_qcow2.references import References

READING = "qcow2: Image is corrupt: {}; further non-fatal corruption events will be suppressed"
WRITING = "qcow2: Marking image as corrupt: {}; further corruption events will be suppressed"


class Comparison:
    """`findings` says every difference and fills the rest in: `highest`, the last cluster that is in use, `missing`,
    whether a used cluster has the refcount 0, and `unreadable`, how many refcounts cannot be read."""

    __slots__ = ("_refcounts", "_references", "_remarked", "highest", "missing", "unreadable")

    def __init__(self, refcounts: Refcounts, references: References) -> None:
        self._refcounts = refcounts
        self._references = references
        self._remarked = False
        self.highest = self.unreadable = 0
        self.missing = False

    def findings(self) -> Iterator[Finding]:
        """Where a refcount cannot be read, qemu takes the cluster neither as used nor as wrong."""
        bits = self._references.header.cluster_bits
        for cluster, stored, counted in self.differences():
            if stored < 0:
                yield Finding(
                    Severity.NOTE, f"Can't get refcount for cluster {cluster}: Input/output error", cluster << bits
                )
                continue
            severity, word = (Severity.CORRUPTION, "ERROR") if stored < counted else (Severity.LEAK, "Leaked")
            yield Finding(severity, difference(word, cluster, stored, counted), cluster << bits, 1, True)

    def differences(self) -> Iterator[tuple[int, int, int]]:
        """(cluster, stored refcount or -1, counted references) wherever they differ."""
        clusters = self._references.clusters
        done = 0
        for index, first, count in self._refcounts.blocks(clusters):
            yield from self._unstored(done, first - done)
            done = first + count
            try:
                stored = self._refcounts.block(index)
            except UnreadableBlockError:
                self.unreadable += count
                for cluster in range(first, done):
                    yield cluster, -1, self._references.tally[cluster]
                continue
            if stored is None:
                yield from self._unstored(first, count)
            else:
                yield from self._stored(first, stored[:count])
        yield from self._unstored(done, clusters - done)

    def _stored(self, first: int, stored: bytes) -> Iterator[tuple[int, int, int]]:
        tally = self._references.tally
        counted = tally.narrow(first, len(stored))
        used = max(len(stored.rstrip(b"\0")), len(counted.rstrip(b"\0")))
        self.highest = max(self.highest, first + used - 1 if used else 0)
        for at in unequal(stored, counted):
            yield from self._differing(first + at, self._refcounts[first + at])

    def _unstored(self, first: int, count: int) -> Iterator[tuple[int, int, int]]:
        tally = self._references.tally
        for start, some in tally.referenced(first, count):
            counted = tally.narrow(start, some)
            used = len(counted.rstrip(b"\0"))
            self.highest = max(self.highest, start + used - 1 if used else 0)
            for at in unequal(bytes(some), counted):
                yield from self._differing(start + at, 0)

    def _differing(self, cluster: int, stored: int) -> Iterator[tuple[int, int, int]]:
        counted = self._references.tally[cluster]
        if stored != counted:
            self.missing = self.missing or not stored
            yield cluster, stored, counted


def difference(word: str, cluster: int, stored: int, counted: int) -> str:
    """The line of a refcount that is not as counted."""
    return f"{word} cluster {cluster} refcount={stored} reference={counted}"


def remark(error: UnreadableBlockError, *, repairs: bool) -> Finding:
    """What qemu says once of a refcount block that is not aligned."""
    return Finding(Severity.NOTE, (WRITING if repairs else READING).format(error), count=0)
