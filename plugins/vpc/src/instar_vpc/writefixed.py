"""Writing a fixed disk: its content, and a footer."""

from __future__ import annotations

from instar_core.types import Barrier, Copy, Geometry, Kind, Put, Truncate
from instar_vpc.layout import FOOTER
from instar_vpc.newimage import footer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from instar_core.types import Edit, Run
    from instar_vpc.choices import Choices

UNIT = 4096
"""Zeros are left out in units of a file system's block."""


def fixed_edits(choices: Choices, runs: Iterable[Run]) -> Iterator[Geometry | Edit]:
    """Every run at its own place; until the footer is put, the file is no VHD."""
    yield Geometry(UNIT, choices.size, overhead=FOOTER.size)
    yield Truncate(0)
    yield Truncate(choices.size)
    for run in runs:
        if run.kind == Kind.DATA:
            yield Copy(run.start, run.start, run.length)
    yield Barrier()
    yield Put(choices.size, footer(choices))
