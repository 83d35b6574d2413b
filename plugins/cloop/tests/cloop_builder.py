"""Compressed loop images of version 2, made without the plugin, valid or not."""

from __future__ import annotations

import struct
import zlib

PREAMBLE = b"#!/bin/sh\n#V2.0 Format\nmodprobe cloop file=$0 && mount -r -t iso9660 /dev/cloop $1\n"


def build(blocks, *, size=4096, stored=None, count=None, offsets=None, preamble=PREAMBLE + b"exit $?\n", tail=b""):
    """An image of these blocks. `stored` replaces their compressed bytes by number, `offsets` those of the table."""
    pieces = [(stored or {}).get(number, zlib.compress(block, number % 10)) for number, block in enumerate(blocks)]
    table = [136 + 8 * (len(pieces) + 1)]
    for piece in pieces:
        table.append(table[-1] + len(piece))
    for index, value in (offsets or {}).items():
        table[index] = value
    head = preamble.ljust(128, b"\0") + struct.pack(">II", size, len(pieces) if count is None else count)
    return head + struct.pack(f">{len(table)}Q", *table) + b"".join(pieces) + tail


def changed(data, offset, value, layout=">I"):
    """The image with one field replaced."""
    return data[:offset] + struct.pack(layout, value) + data[offset + struct.calcsize(layout) :]
