"""Writes content into an image that is there, as commit and convert do."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from instar_core.changing import Changing
from instar_core.piece import Piece
from instar_core.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any

INLINE = Settings(sandbox="inline", policy="qemu", unsafe_quirks=True)


def overwrite(
    path: str,
    format: str,
    content: bytes,
    stretches: Sequence[tuple[int, int]],
    *,
    compress: bool = False,
    opaque: bool = False,
    open_options: Mapping[str, Any] | None = None,
    settings: Settings = INLINE,
) -> None:
    """The disk reads as `content`, which is as long, in the units that (start, length) pairs touch; they ascend.

    Stretches that are nothing but zeros are offered as such.
    """
    held = os.memfd_create("content")
    try:
        for at in range(0, len(content), 1 << 24):
            os.pwrite(held, content[at : at + (1 << 24)], at)

        def pieces(unit: int) -> Iterator[Piece]:
            end = 0
            for start, length in stretches:
                first = max(end, start // unit * unit)
                end = min(len(content), -(-(start + length) // unit) * unit)
                if first < end:
                    zero = content.count(0, first, end) == end - first
                    yield Piece(first, end - first, zero) if zero else Piece(first, end - first, False, held, first)

        with Changing(path, settings, format=format, options=open_options) as image:
            image.update(pieces, compress=compress, opaque=opaque)
    finally:
        os.close(held)
