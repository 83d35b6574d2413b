"""Bounds of the VDI format, each with its reason."""

from __future__ import annotations

BLOCKS = 0x1FFFFF80
"""Most blocks of an image: qemu's bound, by which the block map stays below 2 GiB."""

SIZE = BLOCKS << 20
"""Largest virtual disk in bytes: that many blocks of 1 MiB."""

BLOCK_LEAST = 4 << 10
"""Smallest block in bytes that is read. Everything known to exist has 1 MiB."""

BLOCK_MOST = 64 << 20
"""Largest block in bytes that is read."""

PIECE = 1 << 16
"""Entries of the block map that are looked at together: 256 KiB, so that the work for a uniform piece is small."""

STRETCHES = 1 << 21
"""Stretches of stored blocks among which free ones are looked for: about 120 MiB of memory."""

WAITING = 4096
"""Stretches of blocks that wait to be committed: a stop loses them."""

COPIES = 1 << 10
"""Blocks that one repair moves; a further repair moves more."""
