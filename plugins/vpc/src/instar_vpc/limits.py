"""Bounds of the VHD format, each with its reason."""

from __future__ import annotations

SECTORS = 0xFF000000
"""Sectors of the largest disk, 2040 GiB: qemu's bound, what 32-bit sector numbers leave besides metadata."""

TABLE = (1 << 31) // 4 - 1
"""Most entries of a block allocation table that a header may announce: qemu's bound."""

BLOCKS = 1 << 24
"""Most blocks of a disk: 2 TiB in blocks of 128 KiB, a sixteenth of what every known program writes."""

BLOCK = 4096
"""Smallest block in bytes: eight sectors, a byte of the sector bitmap. Of smaller ones qemu leaves out the bitmap."""

TABLE_PIECE = 1 << 16
"""Entries of the block allocation table that are looked at together."""

LOCATOR = 1 << 16
"""Longest name in a parent locator, in bytes."""

CHECK_RUNS = 1 << 20
"""Stretches among which overlaps are looked for: about 100 MiB of memory."""

WINDOW = 1 << 17
"""Table entries that a writer keeps before it puts them: 512 KiB."""

WAITING = 1 << 18
"""Bytes of table entries and sector bitmaps that wait for content to be on stable storage: of 64 Ki new blocks."""
