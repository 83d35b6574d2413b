"""The block map: which stored block holds which block of the disk."""

from __future__ import annotations

from instar_vdi.layout import DISCARDED
from instar_vdi.limits import PIECE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from instar_core.source import Source
    from instar_vdi.layout import Header

ABSENT = -1
"""In place of a stored block: there is none, the block reads as zeros."""


def stretches(source: Source, header: Header, first: int, last: int) -> Iterator[tuple[int, int, int, int]]:
    """Blocks [first, last) in order as (block, count, stored block, step).

    The n-th block of a stretch is the stored block plus n times the step, which is 1 or 0; ABSENT has the step 0.
    Raises FormatError (TRUNCATED) where the file ends before the map does.
    """
    for at in range(first, last, PIECE):
        count = min(PIECE, last - at)
        for start, length, index, step in source.runs(header.offset_bmap + 4 * at, count, 4, 1, big=False):
            block = at + start
            if index + step * (length - 1) < DISCARDED:
                yield block, length, index, step
                continue
            # An arithmetic run may climb into the two numbers that stand for no block.
            have = max(0, DISCARDED - index) if step else 0
            if have:
                yield block, have, index, step
            yield block + have, length - have, ABSENT, 0
