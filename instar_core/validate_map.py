"""The door for maps: what a worker says of where content lies is believed only if it passes here.

A batch is looked at column by column; where that does not show that everything is right, extent by extent.
"""

from __future__ import annotations

from _operator import add
from itertools import compress

from instar_core import limits
from instar_core.columns import IS_DATA, each, extents, gap, kinds, of
from instar_core.errors import ContractViolation, ErrorKind, FormatError, InstarError
from instar_core.types import NOWHERE, Extent, Kind

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from instar_core.columns import Columns
    from instar_core.types import ImageInfo

REACH = 1 << 63
"""What no place reaches."""
KINDS = bytes((Kind.DATA, Kind.ZERO, Kind.ABSENT))


def columns(
    batches: Iterable[Columns],
    start: int,
    length: int,
    info: ImageInfo,
    sizes: Sequence[int],
    *,
    placed: bool = True,
) -> Iterator[Columns]:
    """The same batches, whose extents are known to ascend, touch, cover [start, start + length) and lie inside the
    devices. Those before one that is refused are given.

    A data extent may pass the end of its device only where the format allows a short last unit, and by less than
    limits.UNIT; what is missing reads as zeros. Where data is not `placed` (a bitmap's), it has no place at all.
    """
    at, end = start, start + length
    for batch in batches:
        if batch.start != at:
            raise gap(at, batch.start, next(iter(each(batch.length, batch.number))))
        reached = _reach(batch)
        if not placed or reached is None or reached > end or not _sound(batch, info, sizes):
            passed: list[Extent] = []
            try:
                reached = _each(batch, end, info, sizes, placed, passed)
            except InstarError:
                if passed:
                    yield of(passed)
                raise
        yield batch
        at = reached
    if at != end:
        raise ContractViolation(f"the map ends at {at}, not at {end}")


def _reach(batch: Columns) -> int | None:
    """Where the last extent ends; None where one is empty."""
    length = batch.length
    if isinstance(length, int):
        return batch.start + batch.number * length if length else None
    return batch.start + sum(length) if min(length) else None


def _sound(batch: Columns, info: ImageInfo, sizes: Sequence[int]) -> bool:
    """Whether all extents are known to be plain and to lie where they may; if not, some may still be right."""
    number, _, length, _, device, offset, stored, coding, skip, _ = batch
    if stored != 0 or coding != 0 or skip != 0 or not isinstance(device, int) or device >= len(sizes):
        return False
    told = kinds(batch)
    if told.translate(None, KINDS):
        return False
    data = told.translate(IS_DATA)
    if isinstance(offset, int):
        offset = (offset,) * number
    if min(offset) < NOWHERE:
        return False
    places = list(compress(offset, data))
    if not places:
        return True
    if min(places) < 0:
        return False
    most = REACH if info.partial else min(sizes[device], REACH)
    longest = length if isinstance(length, int) else max(length)
    if max(places) + longest <= most:
        return True
    farthest: int = max(map(add, places, compress(each(length, number), data)))
    return farthest <= most


def _each(batch: Columns, end: int, info: ImageInfo, sizes: Sequence[int], placed: bool, passed: list[Extent]) -> int:
    """Where the last extent ends, each looked at alone; `passed` are those before one that is refused."""
    at = batch.start
    for extent in extents(batch):
        first, size, kind, device, offset, stored, coding, skip, _flags = extent
        if size <= 0:
            raise gap(at, first, size)
        at += size
        if at > end:
            raise ContractViolation(f"the map goes on past {end}, to {at}")
        if kind == Kind.DATA and not placed:
            if offset != NOWHERE or stored or coding or skip:
                raise ContractViolation(f"the extent at {first} has a place, but stands for no stored bytes")
        elif kind == Kind.DATA:
            _place(device, offset, stored if coding else size, info, sizes)
            if coding:
                _coded(extent, info)
            elif stored or skip:
                raise ContractViolation(f"the extent at {first} is plain but has a stored length or skip")
        elif kind not in (Kind.ZERO, Kind.ABSENT):
            raise ContractViolation(f"the extent at {first} has a kind that does not exist")
        elif offset < NOWHERE:
            raise ContractViolation(f"the extent at {first} lies at {offset}")
        passed.append(extent)
    return at


def _place(device: int, offset: int, length: int, info: ImageInfo, sizes: Sequence[int]) -> None:
    if device >= len(sizes):
        raise ContractViolation(f"an extent lies in device {device}, which does not exist")
    if offset < 0 or offset + length > REACH:
        raise ContractViolation(f"a data extent lies at {offset}, which is no place")
    size = sizes[device]
    if offset + length > size and not info.partial:
        raise FormatError(
            f"{length} bytes at {offset} lie outside the file, which ends at {size}",
            kind=ErrorKind.OUT_OF_BOUNDS,
            offset=offset,
        )


def _coded(extent: Extent, info: ImageInfo) -> None:
    if extent.coding > len(info.codings):
        raise ContractViolation(f"the extent at {extent.start} has a coding that was not announced")
    coding = info.codings[extent.coding - 1]
    if not coding.whole:
        if extent.stored != extent.length or extent.skip:
            raise ContractViolation(
                f"the extent at {extent.start} is coded by sectors, but not stored at its own length"
            )
    elif extent.skip + extent.length > coding.unit or not extent.stored:
        raise ContractViolation(f"the extent at {extent.start} is longer than a unit of its coding")
    elif extent.stored > 2 * coding.unit + limits.PAGE:
        raise FormatError(
            f"a piece of {extent.stored} stored bytes is too long for a unit of {coding.unit}",
            kind=ErrorKind.LIMIT,
            offset=extent.offset,
        )
