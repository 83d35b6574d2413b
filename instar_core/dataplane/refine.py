"""Pieces seen more closely: what a file does not hold reads as zeros and need not be read."""

from __future__ import annotations

from instar_core.dataplane.sparse import file_extents
from instar_core.errors import ContractViolation
from instar_core.piece import Piece

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

LEAST_HOLE = 64 << 10
"""Shorter holes are read like data: looking for them costs more."""


GAP = -1
"""The depth of a piece that stands for nothing: what no piece was given for."""


def covering(pieces: Iterator[Piece], start: int, end: int, *, zeros: bool = True) -> Iterator[Piece]:
    """The same pieces, known to ascend within the window, with what none was given for as zeros, or else as gaps."""
    depth = 0 if zeros else GAP
    at = start
    for piece in pieces:
        if piece.start < at or piece.length < 0 or piece.start + piece.length > end:
            raise ContractViolation(f"a piece of {piece.length} bytes at {piece.start} does not follow on {at}")
        if piece.start > at:
            yield Piece(at, piece.start - at, True, depth=depth)
        at = piece.start + piece.length
        if piece.length:
            yield piece
    if at < end:
        yield Piece(at, end - at, True, depth=depth)


def refined(pieces: Iterator[Piece]) -> Iterator[Piece]:
    """The same disk, with the holes of the files, and what lies past their limits, as zero pieces."""
    for piece in pieces:
        if piece.zero or piece.coding is not None:
            yield piece
            continue
        inside = piece.length
        if piece.limit:
            inside = max(0, min(inside, piece.limit - piece.offset))
        for offset, length, data in file_extents(piece.descriptor, piece.offset, inside, LEAST_HOLE):
            start = piece.start + offset - piece.offset
            yield piece._replace(start=start, length=length, offset=offset) if data else Piece(start, length, True)
        if inside < piece.length:
            yield Piece(piece.start + inside, piece.length - inside, True)
