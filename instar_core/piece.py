"""What the data plane is told: stretches of the merged disk and the open file that each lies in."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NamedTuple

    from instar_core.types import Coding
else:
    from instar_core.record import NamedTuple


class Piece(NamedTuple):
    """A stretch of the disk as it reads once all layers lie over one another. Pieces ascend, touch and cover.

    A zero piece has nothing stored. A plain one lies in the open file `descriptor` at `offset`. A coded one (with a
    coding that is whole) is part of one unit: `stored` bytes at `offset` decode to it, and the piece's content starts
    `skip` bytes into what they decode to. A piece of a coding by sectors is stored at its own length, and its sectors
    are counted from `origin`, the place in the merged disk where the disk of its image starts, unless the coding counts
    them by their place in the file. `depth` is the depth of
    the image in its chain. With a `limit` the file reads as zeros from there on.
    """

    start: int
    length: int
    zero: bool
    descriptor: int = -1
    offset: int = 0
    stored: int = 0
    coding: Coding | None = None
    skip: int = 0
    depth: int = 0
    limit: int = 0
    origin: int = 0
