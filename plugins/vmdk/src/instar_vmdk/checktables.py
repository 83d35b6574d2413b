"""What is wrong with grain directories and grain tables, and what the one copy says otherwise than the other."""

from __future__ import annotations

from instar_core.taken import Taken
from instar_core.types import NOWHERE, Finding, Severity
from instar_vmdk.footer import front
from instar_vmdk.layout import Sparse
from instar_vmdk.mending import Copies, within
from instar_vmdk.tablepairs import outside

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from instar_core.source import Source
    from instar_vmdk.mending import Mended


def table_findings(source: Source, sparse: Sparse, *, writable: bool) -> Generator[Finding, None, int]:
    """Findings on directories and tables. What lies outside the file reads as if nothing were there: it is lost.

    Of what is `writable`, and what the redundant copy says otherwise, some is repairable; `count` is of tables. The
    generator returns how many grains past the end of the file would be mended by that.
    """
    if not sparse.entries:
        return 0
    copies = Copies(source, sparse) if sparse.width == 4 and sparse.redundant and not sparse.compressed else None
    if copies is None or not copies.redundant:
        if not within(source, sparse.directory, sparse.entries * sparse.width):
            led = writable and sparse.marked and front(source) is not None
            yield _lost("The grain directory is not inside the file", sparse.directory, repairable=led)
            return 0
        for table, count, offset in outside(source, sparse, sparse.directory):
            yield _lost(f"Grain table {table} is not inside the file", offset, count)
        return 0
    known = () if copies.alike else copies.mended()
    if copies.lost or copies.spare_lost:
        mended = writable and any(made.primary for made in known)
        yield from _directories(sparse, copies, mended, writable=writable)
        return sparse.entries * sparse.per_table if mended else 0
    beyond = 0
    told = Taken()
    for made in known:
        beyond += made.beyond if writable else 0
        yield _unlike(source, sparse, made, writable=writable)
        if made.one > 0:
            list(told.take(made.table, 1))
    for table, count, offset in outside(source, sparse, sparse.directory):
        first, left = table, count
        for each in told.take(table, count):
            first += each == first
            left -= 1
        if left:
            yield _lost(f"Grain table {first} is not inside the file", offset, left)
    return beyond


def _directories(sparse: Sparse, copies: Copies, mended: bool, *, writable: bool) -> Iterator[Finding]:
    if copies.lost:
        yield _lost("The grain directory is not inside the file", sparse.directory, repairable=mended)
    if copies.spare_lost:
        place = sparse.redundant
        yield _note("The redundant grain directory is not inside the file", place, writable and not copies.lost)


def _unlike(source: Source, sparse: Sparse, made: Mended, *, writable: bool) -> Finding:
    repairable = writable and (made.primary or made.redundant)
    size = sparse.per_table * 4
    if made.one > 0 and not within(source, made.one, size):
        return _lost(f"Grain table {made.table} is not inside the file", made.one, repairable=repairable)
    if made.one <= 0 or made.other <= 0:
        return _note(f"Grain table {made.table} exists in one grain directory only", -1, repairable)
    if not within(source, made.other, size):
        text = f"The redundant copy of grain table {made.table} is not inside the file"
        return _note(text, made.other, repairable)
    return _note(f"Grain table {made.table} and its redundant copy differ", made.one, repairable)


def _lost(text: str, offset: int, count: int = 1, *, repairable: bool = False) -> Finding:
    return Finding(Severity.CORRUPTION, text, _place(offset), count, repairable)


def _note(text: str, offset: int, repairable: bool) -> Finding:
    return Finding(Severity.NOTE, text, _place(offset), repairable=repairable)


def _place(offset: int) -> int:
    """The offset, if any file has it."""
    return offset if offset < 1 << 63 else NOWHERE
