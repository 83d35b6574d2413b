"""The layout of a LUKS2 header, as data. All integers are big-endian."""

from __future__ import annotations

from struct import Struct

MAGIC_1ST = b"LUKS\xba\xbe"
MAGIC_2ND = b"SKUL\xba\xbe"
VERSION = 2

BINARY = Struct(">6sHQQ48s32s64s40s48sQ184s64s")
"""magic, version, hdr_size, seqid, label, checksum_alg, salt, uuid, subsystem, hdr_offset, padding, csum (512 bytes)"""

BINARY_SIZE = 4096
"""Bytes of the binary header with its padding; the JSON area follows."""

CSUM_OFFSET = 448
CSUM_SIZE = 64
SALT_SIZE = 64

SIZES = tuple([1 << bits for bits in range(14, 23)])
"""Bytes that a header with its JSON area can have: 16 KiB to 4 MiB. The second copy begins where the first ends."""

ALIGNMENT = 4096
"""Of areas of key slots."""
SECTOR_SIZE = 512
STRIPES = 4000
SECTOR_SIZES = (512, 1024, 2048, 4096)
SALT = 32
"""Bytes of the salts of key slots and digests."""

NEW_SIZE = 16 << 10
"""Bytes of each copy of a new header."""
NEW_OFFSET = 16 << 20
"""Where the payload of a new volume begins, as cryptsetup has it; before it, key slots."""
