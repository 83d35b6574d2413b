"""Where a disk is read at random: the same places for everybody, in the same order."""

from __future__ import annotations

import random

PIECE = 64 << 10
SEED = 20240301


def scattered(size: int) -> list[int]:
    """Offsets of pieces, in all half as many as the disk has, none of them twice."""
    pieces = size // PIECE
    return [number * PIECE for number in random.Random(SEED).sample(range(pieces), pieces // 2)]
