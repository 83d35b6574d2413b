"""Compressed loop images: big-endian. A script, header at 128, offsets, blocks that are zlib streams."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from struct import pack

from ..case import Blob

PREAMBLE = b"#!/bin/sh\n#V2.0 Format\nmodprobe cloop file=$0 && mount -r -t iso9660 /dev/cloop $1\nexit $?\n"


def image(
    stored: Sequence[bytes] = (zlib.compress(bytes(4096)),) * 4,
    *,
    block: int = 4096,
    count: int | None = None,
    offsets: Mapping[int, int] | None = None,
    tail: bytes = b"",
) -> Blob:
    """An image of these stored blocks; `offsets` replace entries of the table."""
    table = [136 + 8 * (len(stored) + 1)]
    for piece in stored:
        table.append(table[-1] + len(piece))
    for index, value in (offsets or {}).items():
        table[index] = value
    head = PREAMBLE.ljust(128, b"\0") + pack(">II", block, len(stored) if count is None else count)
    return Blob(head + pack(f">{len(table)}Q", *table) + b"".join(stored) + tail)
