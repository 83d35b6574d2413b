"""Extents in columns: many at once, as they cross the wire, and as a plugin may give them.

An image in fragments has millions of extents: made, packed, checked and read one by one, each costs microseconds at
every step, column by column a tenth of that.
"""

from __future__ import annotations

import sys
from itertools import accumulate, chain, repeat
from struct import Struct
from struct import error as struct_error

from instar_core import limits
from instar_core.errors import ContractViolation, ErrorKind, FormatError
from instar_core.lightarray import array
from instar_core.types import NOWHERE, Extent, Kind

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from typing import Any, NamedTuple

    Column = int | Sequence[int]
else:
    from instar_core.record import NamedTuple

HEAD = Struct("<IQ")
"""How many extents, and where the first of them starts."""
CODES = "QBHqQBIB"
"""Type codes of the columns from `length` on."""
WIDTHS = {"B": 1, "H": 2, "I": 4, "q": 8, "Q": 8}
ONE, EACH = 0, 1
"""How a column is packed: one value for all extents, or one for each."""
SINGLE = {code: Struct(f"<B{code}") for code in WIDTHS}
NOWHERE_BIT = 4
PLACELESS = bytes([kind | NOWHERE_BIT for kind in range(256)])
OTHERS_PLACELESS = bytes([kind | NOWHERE_BIT if kind != Kind.DATA else kind for kind in range(256)])
IS_DATA = bytes([kind == Kind.DATA for kind in range(256)])


class Columns(NamedTuple):
    """`number` extents, from 1 on, that touch one another; the first starts at `start`.

    The other fields are columns, named as the fields of Extent are: a sequence with a value for each extent, or one
    number that all of them have.
    """

    number: int
    start: int
    length: Column
    kind: Column
    device: Column = 0
    offset: Column = -1
    stored: Column = 0
    coding: Column = 0
    skip: Column = 0
    flags: Column = 0


class Stream:
    """The extents of a map, made as they are taken: one by one, or batch by batch.

    A plugin may answer instar_map with one. Batches have at most limits.BATCH extents.
    """

    __slots__ = ("batches",)

    def __init__(self, batches: Iterator[Columns]) -> None:
        self.batches = batches

    def __iter__(self) -> Iterator[Extent]:
        return chain.from_iterable(map(extents, self.batches))


def each(column: Column, number: int) -> Iterable[int]:
    """The values of a column, one for each extent."""
    return repeat(column, number) if isinstance(column, int) else column


def starts(columns: Columns) -> list[int]:
    """Where each extent starts, and last where the last one ends."""
    number, start, length = columns[:3]
    if isinstance(length, int):
        return list(range(start, start + number * length + 1, length)) if length else [start] * (number + 1)
    return list(accumulate(length, initial=start))


def extents(columns: Columns) -> Iterator[Extent]:
    """The extents one by one."""
    number = columns.number
    rows = zip(starts(columns)[:number], *[each(column, number) for column in columns[2:]], strict=True)
    return map(tuple.__new__, repeat(Extent), rows)  # what Extent._make does, without its call


def of(given: Sequence[Extent]) -> Columns:
    """The columns of extents that touch, at least one. Raises ContractViolation where two of them do not."""
    first, *others = split(given)
    if others:
        raise gap(starts(first)[-1], others[0].start, next(iter(each(others[0].length, 1))))
    return first


def split(given: Sequence[Extent]) -> Iterator[Columns]:
    """The columns of extents, anew wherever two of them do not touch. Raises ContractViolation for what is none."""
    names = len(Extent._fields)
    if not {names}.issuperset(map(len, given)):
        raise ContractViolation("a map holds something that is no extent")
    flat = list(chain.from_iterable(given))
    while flat:
        fields = [flat[place::names] for place in range(names)]
        first, number = fields[0], len(fields[0])
        try:
            reached = list(accumulate(fields[1], initial=first[0]))
        except TypeError as error:
            raise ContractViolation(f"an extent cannot be packed: {error}") from error
        if reached[:-1] != first:
            number = next(place for place in range(number) if reached[place] != first[place])
        yield Columns(number, first[0], *[field[:number] for field in fields[1:]])
        del flat[: names * number]


def gap(at: int, start: int, length: int) -> ContractViolation:
    """What is said of an extent that does not begin where the one before it ended."""
    return ContractViolation(f"the map has a gap or an overlap at {at}: the next extent is {start}+{length}")


def pack(columns: Columns) -> bytes:
    """Columns as a frame's body.

    Raises FormatError where an extent lies past every possible offset, which is the image's fault, and
    ContractViolation where a field is no number of its size, which is the plugin's.
    """
    try:
        parts = [HEAD.pack(columns.number, columns.start)]
        for code, column in zip(CODES, columns[2:], strict=True):
            value = column if isinstance(column, int) else _common(column, columns.number)
            parts.append(SINGLE[code].pack(ONE, value) if value is not None else _packed(code, column))
    except (struct_error, OverflowError, TypeError, ValueError) as error:
        for start, offset in zip(starts(columns), each(columns.offset, columns.number), strict=False):
            if type(offset) is int and offset >= 1 << 63:
                raise FormatError(
                    f"content of the disk at {start} lies at {offset}, which is no place", kind=ErrorKind.OUT_OF_BOUNDS
                ) from error
        raise ContractViolation(f"an extent cannot be packed: {error}") from error
    return b"".join(parts)


def _common(column: Sequence[int], number: int) -> int | None:
    """The value that all extents have; None where they have not all the same."""
    if len(column) != number:
        raise ContractViolation(f"a column of {len(column)} values is not one of {number} extents")
    value = column[0]
    return value if value == column[-1] and column.count(value) == number else None


def _packed(code: str, column: Any) -> bytes:
    if code == "B":
        return b"\1" + bytes(column)
    made = column if isinstance(column, array) and column.typecode == code else array(code, column)
    if sys.byteorder == "big":
        made = made[:]
        made.byteswap()
    return b"\1" + made.tobytes()


def unpack(body: bytes) -> Columns:
    """The columns of a frame, unchecked but for their shape. Raises ContractViolation."""
    try:
        number, start = HEAD.unpack_from(body)
        if not 0 < number <= limits.BATCH:
            raise ContractViolation(f"a batch of {number} extents is not possible")
        at = HEAD.size
        columns: list[Column] = []
        for code in CODES:
            how, value = SINGLE[code].unpack_from(body, at)
            if how == ONE:
                columns.append(value)
                at += SINGLE[code].size
                continue
            if how != EACH:
                raise ContractViolation("a batch of extents has a column of no kind that exists")
            piece = body[at + 1 : at + 1 + number * WIDTHS[code]]
            at += 1 + number * WIDTHS[code]
            if code == "B":
                columns.append(piece)
                continue
            column = array(code, piece)
            if sys.byteorder == "big":
                column.byteswap()
            columns.append(column.tolist())  # which is looked at several times: an array makes its numbers each time
    except (struct_error, ValueError) as error:
        raise ContractViolation("a batch of extents is cut short") from error
    if at != len(body):
        raise ContractViolation("a batch of extents is cut short or too long")
    return Columns(number, start, *columns)


def kinds(columns: Columns) -> bytes:
    """The kind of each extent. Raises ValueError where one is no byte."""
    kind = columns.kind
    return bytes((kind,)) * columns.number if isinstance(kind, int) else bytes(kind)


def codes(columns: Columns) -> bytes:
    """For each extent a number of its kind and whether it has a place: the kind, and NOWHERE_BIT where it has none.

    The extents have passed the door, so that data has a place.
    """
    plain, offset = kinds(columns), columns.offset
    if isinstance(offset, int):
        return plain.translate(PLACELESS) if offset < 0 else plain
    others = columns.number - plain.count(Kind.DATA)
    if not others:
        return plain
    if offset.count(NOWHERE) == others:
        return plain.translate(OTHERS_PLACELESS)
    return bytes([kind | NOWHERE_BIT if offset < 0 else kind for kind, offset in zip(plain, offset, strict=True)])
