"""map as text, piece by piece: a map may have millions of ranges."""

from __future__ import annotations

from instar_core.cli.printable import printable
from instar_core.errors import ErrorKind, InstarError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from instar_core.results import MapRange

HEADER = f"{'Offset':<16}{'Length':<16}{'Mapped to':<16}File\n"
TRUTH = ("false", "true")


def human(ranges: Iterable[MapRange]) -> Iterator[str]:
    """A heading and the ranges that hold data, with the place that they lie at in a file.

    Raises InstarError at the first range whose data has no plain place.
    """
    yield HEADER
    for each in ranges:
        if each.zero or not each.data:
            continue
        if each.offset is None:
            raise InstarError("File contains external, encrypted or compressed clusters.", kind=ErrorKind.UNSUPPORTED)
        yield f"{_hex(each.start):<16}{_hex(each.length):<16}{_hex(each.offset):<16}{printable(each.filename)}\n"


def _hex(value: int) -> str:
    """As printf's %#x, which leaves zero bare."""
    return f"{value:#x}" if value else "0"


def json(ranges: Iterable[MapRange]) -> Iterator[str]:
    """A list of all ranges, one on a line."""
    yield "["
    before = "{"
    for start, length, depth, present, zero, data, compressed, offset, _ in ranges:
        place = "" if offset is None else f', "offset": {offset}'
        yield (
            f'{before} "start": {start}, "length": {length}, "depth": {depth}, "present": {TRUTH[present]}, '
            f'"zero": {TRUTH[zero]}, "data": {TRUTH[data]}, "compressed": {TRUTH[compressed]}{place}}}'
        )
        before = ",\n{"
    yield "]\n"
