"""map as text, piece by piece: a map may have millions of ranges."""

from __future__ import annotations

from instar_core.cli.printable import printable
from instar_core.errors import ErrorKind, InstarError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from instar_core.mapranges import Look, Ranges

HEADER = f"{'Offset':<16}{'Length':<16}{'Mapped to':<16}File\n"
TRUTH = ("false", "true")
AT_ONCE = 512
"""Ranges in one piece of text: larger ones would have their memory mapped anew each time, page by page."""


def human(batches: Iterable[Ranges]) -> Iterator[str]:
    """A heading and the ranges that hold data, with the place that they lie at in a file.

    Raises InstarError at the first range whose data has no plain place, after those before it.
    """
    yield HEADER
    for batch in batches:
        lines: list[str] = []
        for start, length, offset, look in zip(batch.starts, batch.lengths, batch.offsets, batch.looks, strict=True):
            if look.zero or not look.data:
                continue
            if not look.placed:
                yield "".join(lines)
                raise InstarError(
                    "File contains external, encrypted or compressed clusters.", kind=ErrorKind.UNSUPPORTED
                )
            lines.append(f"{_hex(start):<16}{_hex(length):<16}{_hex(offset):<16}{printable(look.filename)}\n")
        yield "".join(lines)


def _hex(value: int) -> str:
    """As printf's %#x, which leaves zero bare."""
    return f"{value:#x}" if value else "0"


def json(batches: Iterable[Ranges]) -> Iterator[str]:
    """A list of all ranges, one on a line."""
    templates = Templates()
    yield "["
    before = ""
    for batch in batches:
        numbers = [0] * (3 * len(batch))
        numbers[0::3] = batch.starts
        numbers[1::3] = batch.lengths
        numbers[2::3] = batch.offsets
        for at in range(0, len(batch), AT_ONCE):
            end = at + AT_ONCE
            shown = ",\n".join(map(templates.__getitem__, batch.looks[at:end]))
            yield before + shown % tuple(numbers[3 * at : 3 * end])
            before = ",\n"
    yield "]\n"


class Templates(dict["Look", str]):
    """How ranges of a look are told, given start, length and place."""

    def __missing__(self, look: Look) -> str:
        place = ', "offset": %d' if look.placed else "%.0s"  # which takes a place and shows nothing of it
        made = self[look] = (
            f'{{ "start": %d, "length": %d, "depth": {look.depth}, "present": {TRUTH[look.present]}, '
            f'"zero": {TRUTH[look.zero]}, "data": {TRUTH[look.data]}, "compressed": {TRUTH[look.compressed]}{place}}}'
        )
        return made
