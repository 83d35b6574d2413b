"""Writing monolithicFlat and twoGbMaxExtentFlat: plain files and a text that names them."""

from __future__ import annotations

from instar_core.types import Barrier, Copy, Geometry, Kind, NewFile, Put, Truncate
from instar_vmdk.layout import SECTOR
from instar_vmdk.names import extent_name
from instar_vmdk.pieces import SPLIT, cut, lengths
from instar_vmdk.text import descriptor_text, extent_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from instar_core.types import Edit, Run
    from instar_vmdk.choices import Choices

UNIT = 4096
"""Zeros are left out in units of a file system's block."""


def flat_edits(choices: Choices, runs: Iterable[Run]) -> Iterator[Geometry | Edit]:
    """A flat image; devices 1, 2, … are its extents. Until the descriptor is put, device 0 is empty."""
    sizes = lengths(choices.size, split=choices.split) if choices.size else ()
    names = [
        extent_name(choices.name, *(("f", number) if choices.split else ("flat",)))
        for number in range(1, len(sizes) + 1)
    ]
    lines = [extent_line("FLAT", size // SECTOR, name, 0) for name, size in zip(names, sizes, strict=True)]
    text = descriptor_text(choices, lines)
    files = tuple(NewFile(name, size) for name, size in zip(names, sizes, strict=True))
    yield Geometry(UNIT, choices.size, overhead=len(text), files=files)
    yield Truncate(0)
    for number, size in enumerate(sizes):
        yield Truncate(0, number + 1)
        yield Truncate(size, number + 1)
    for number, run in cut(runs, split=choices.split):
        if run.kind == Kind.DATA:
            offset = run.start - number * SPLIT if choices.split else run.start
            yield Copy(run.start, offset, run.length, number + 1)
    yield Barrier()
    yield Put(0, text)
