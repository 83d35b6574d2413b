"""Content that is written over some of an image's, chosen at random by a seed."""

from __future__ import annotations

import os
from random import Random
from typing import TYPE_CHECKING

from crash_cuts import LENIENT

from instar_core.changing import Changing
from instar_core.piece import Piece

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from instar_core.settings import Settings

NOISE = "noise"
"""A file of random bytes, of which incompressible content is made."""
NOISE_SIZE = 256 << 10


def update(
    folder: Path,
    format: str,
    name: str,
    size: int,
    compress: bool,
    seed: int,
    settings: Settings = LENIENT,
    options: dict[str, object] | None = None,
) -> None:
    """Random units are zeros, or random bytes from the file of such."""
    random = Random(seed)
    source = os.open(folder / NOISE, os.O_RDONLY)

    def pieces(unit: int) -> Iterator[Piece]:
        at = 0
        while at < size:
            length = min(unit * random.choice((1, 1, 2, 5)), size - at)
            what = random.random()
            if what < 0.25:
                yield Piece(at, length, True)
            elif what < 0.5:
                length = min(length, NOISE_SIZE // unit * unit or length)
                if length <= NOISE_SIZE:
                    yield Piece(at, length, False, source, random.randrange(0, NOISE_SIZE - length + 1, 512))
            at += length

    try:
        with Changing(str(folder / name), settings, format=format, options=options) as image:
            image.update(pieces, compress=compress)
    finally:
        os.close(source)
