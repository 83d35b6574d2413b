"""Bounds of the cloop format, each with its reason. They are qemu's."""

from __future__ import annotations

from instar_core.limits import MIB, PAGE, UNIT

BLOCK = UNIT
"""Bytes of a block: it is decoded as one piece."""

BLOCKS = ((1 << 32) - 1) // 8
"""Blocks whose table has a 32-bit length."""

OFFSETS = 512 * MIB
"""Bytes of the table of offsets."""

STORED = 2 * BLOCK
"""Bytes between two offsets."""

PIECE = 1 << 16
"""Offsets that are looked at together."""

SLACK = PAGE
"""Bytes that a compressed block may be longer than twice its size: what a host takes as one piece."""
