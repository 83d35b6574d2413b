"""Bounds on what a LUKS header may ask for, each with its reason."""

from __future__ import annotations

EXTENT = 1 << 31
"""Bytes after which the one run of encrypted sectors is cut into a further extent: a stored length has 32 bits on the
wire."""

OBJECTS = 32
"""Key slots, tokens, segments and digests of each kind in a LUKS2 header, as in cryptsetup."""

JSON_VALUES = 1 << 16
"""Values in the metadata of a LUKS2 header: full ones have about 1,500."""

JSON_DEPTH = 16
"""Nesting of the metadata: cryptsetup's goes to 4."""

KEY_SIZE = 512
"""Bytes of a volume key: what cryptsetup takes at most."""

MATERIAL = 8 << 20
"""Bytes of all key material of a volume together: 32 slots for keys of 64 bytes, and they cross in one frame."""
MATERIAL_ROOM = 64 << 10
"""Of these, what the rest of the frame takes."""

WIPE = 4 << 20
"""Bytes of key material overwritten in one piece."""

KEYSLOTS = 128 << 20
"""Bytes of the keyslots area of a LUKS2 header, and of a key slot in it: what cryptsetup takes at most."""

FILE = (1 << 63) - 1
"""Bytes of the largest file that there can be."""
