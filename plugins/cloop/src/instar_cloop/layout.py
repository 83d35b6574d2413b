"""The layout of a compressed loop image, version 2, as data. Source: the README of cloop and what its tools make.

A file is a preamble (a shell script), the header, the table of offsets, and the blocks, each a zlib stream (RFC 1950).
All integers are big-endian.
"""

from __future__ import annotations

from struct import Struct

PREAMBLE = b"#!/bin/sh\n#V2.0 Format\nmodprobe cloop file=$0 && mount -r -t iso9660 /dev/cloop $1\n"
"""How a file begins; other tools follow it with `exit $?`."""

HEADER_OFFSET = 128
HEADER = Struct(">II")
"""block_size (bytes of a block before it was compressed), n_blocks"""

OFFSETS = HEADER_OFFSET + HEADER.size
"""Where the table begins: an offset for every block, and one for the end of the last."""

ENTRY = 8
SECTOR = 512
