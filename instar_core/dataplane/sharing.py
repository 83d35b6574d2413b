"""Sharing extents: on a file system that can, a target holds content without a byte being read or written.

Whether two files can share is only known when it is tried. So the first plain content of each source that is known not
to be zeros is tried in place of being written; what lies behind it is then left in its file from the start.
"""

from __future__ import annotations

from instar_core.dataplane.copy import KERNEL, copy, share

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from instar_core.dataplane.plans import Block
    from instar_core.piece import Piece

ALIGNMENT = 4096
"""Of what is tried: blocks of file systems that share are seldom smaller."""

STEP = 1 << 30
"""Shared at once, so that a wish to stop comes through."""


class Sharing:
    """What is known of sources: whether the targets can share extents with them."""

    def __init__(self) -> None:
        self._found: dict[int, bool] = {}

    def usable(self, piece: Piece) -> bool:
        """Whether the piece, plain content, can be left in its file to be shared."""
        return self._found.get(piece.descriptor, False) and not (piece.offset - piece.start) % ALIGNMENT

    def untried(self, piece: Piece) -> bool:
        """Whether it is still to be found out for the source of this piece."""
        return piece.descriptor not in self._found

    def tried(self, block: Block, inside: int, target: int, place: int, length: int) -> bool:
        """Whether the target shares this part of a block in a buffer, of whose file nothing was known; now it is."""
        offset = block.offset + inside
        if block.descriptor < 0 or block.descriptor in self._found or (offset | place | length) % ALIGNMENT:
            return False
        shared = share(block.descriptor, offset, target, place, length)
        self._found[block.descriptor] = shared
        return shared


def shared(
    source: int, source_offset: int, target: int, target_offset: int, length: int, between: Callable[[], None]
) -> None:
    """The target holds the range: shared, or copied where its place is none that can be. Raises DeviceError."""
    done = 0
    while done < length:
        step = min(STEP, length - done)
        if not share(source, source_offset + done, target, target_offset + done, step):
            step = min(KERNEL, step)
            copy(source, source_offset + done, target, target_offset + done, step)
        done += step
        between()
