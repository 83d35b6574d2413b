"""How a new disk is divided over files. All lengths and offsets are bytes."""

from __future__ import annotations

from instar_core.errors import ErrorKind, FormatError
from instar_core.limits import REFERENCES
from instar_core.types import Run

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

SPLIT = 2 << 30
"""Size of every extent but the last of a divided image."""


def lengths(size: int, *, split: bool) -> tuple[int, ...]:
    """How long the extents of a disk of `size` bytes are; a divided disk of size 0 has none.

    Raises FormatError (USAGE) for more extents than an image may name.
    """
    if not split:
        return (size,)
    full, rest = divmod(size, SPLIT)
    if full + bool(rest) > REFERENCES:
        raise FormatError("the image size is too large for file format 'vmdk'", kind=ErrorKind.USAGE)
    return (SPLIT,) * full + ((rest,) if rest else ())


def cut(runs: Iterable[Run], *, split: bool) -> Iterator[tuple[int, Run]]:
    """The runs, cut at the borders of extents, each with its extent's number, from 0 on."""
    for run in runs:
        if not split:
            yield 0, run
            continue
        start, end = run.start, run.start + run.length
        while start < end:
            number = start // SPLIT
            length = min(end, (number + 1) * SPLIT) - start
            yield number, Run(start, length, run.kind, run.stored, run.coding)
            start += length
