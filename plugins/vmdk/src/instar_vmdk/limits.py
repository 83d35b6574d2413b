"""Bounds of the VMDK format, each with its reason."""

from __future__ import annotations

TEXT = (1 << 20) - 1
"""Longest descriptor in bytes: what qemu reads of one."""

EMBEDDED = 20
"""Sectors of an embedded descriptor where the header's own count is absurd: what every known writer reserves."""

GRAIN_SECTORS = 0x200000
"""Largest grain, 1 GiB: qemu's bound."""

COMPRESSED_GRAIN = 64 << 20
"""Largest compressed grain in bytes: it is decoded as one piece."""

TABLE_ENTRIES = 512
"""Most entries of a hosted grain table: what VMware writes, and qemu's bound."""

DIRECTORY_ENTRIES = 32 << 20
"""Most entries of a grain directory: qemu's bound."""

DIRECTORY_PIECE = 1 << 16
"""Entries of a grain directory that are looked at together."""

TABLE_PIECE = 1 << 16
"""Entries of adjacent grain tables that are looked at together."""

STORED_FACTOR = 2
"""A compressed grain takes at most this many times its size, as in qemu."""

SECTORS = 1 << 32
"""Sectors that a 32-bit grain table entry can address."""

CHECK_RUNS = 1 << 20
"""Runs of grains among which overlaps are looked for: about 100 MiB of memory."""

WINDOW = 1 << 17
"""Grain table entries that a writer keeps before it puts them: 512 KiB."""

CODINGS = 16
"""Different sizes of compressed grains in one image: what the contract has room for."""
