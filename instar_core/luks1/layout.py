"""The layout of a LUKS1 volume, as data. Source: LUKS1 On-Disk Format Specification 1.2.3, whose words are used here.

All integers are big-endian; offsets of key material and payload count sectors of 512 bytes.
"""

from __future__ import annotations

from struct import Struct

MAGIC = b"LUKS\xba\xbe"

VERSION = Struct(">6sH")
"""magic, version"""

PHDR = Struct(">6sH32s32s32sII20s32sI40s")
"""magic, version, cipher-name, cipher-mode, hash-spec, payload-offset, key-bytes, mk-digest, mk-digest-salt,
mk-digest-iterations, uuid (208 bytes)"""

KEY_SLOT = Struct(">II32sIi")
"""active, iterations, salt, key-material-offset, stripes (48 bytes), LUKS_NUMKEYS times after the header. The stripes
are read as signed because messages about them show them so."""

NUMKEYS = 8
KEY_DISABLED = 0x0000DEAD
KEY_ENABLED = 0x00AC71F3
STRIPES = 4000

SECTOR_SIZE = 512
ALIGN_KEYSLOTS = 4096
"""Key material takes whole pieces of this size, the first after the header."""

HEADER_SIZE = PHDR.size + NUMKEYS * KEY_SLOT.size
"""Bytes of the header with its key slots (592)."""

SALT_SIZE = 32
DIGEST_SIZE = 20
UUID_SIZE = 36
"""Characters of a UUID as text."""

ACTIVE = Struct(">I")
"""The first field of a key slot."""


def material_size(key_bytes: int) -> int:
    """Bytes of key material that a slot holds: the split key, up to a whole sector."""
    return -(-key_bytes * STRIPES // SECTOR_SIZE) * SECTOR_SIZE


def material_offset(key_bytes: int, index: int) -> int:
    """Where the key material of a slot lies in headers that tools make; one past the last slot, the payload."""
    return ALIGN_KEYSLOTS + index * (-(-key_bytes * STRIPES // ALIGN_KEYSLOTS) * ALIGN_KEYSLOTS)
