"""Bounds of the qcow format, each with its reason."""

from __future__ import annotations

CLUSTER_BITS = (9, 16)
"""Clusters of 512 bytes to 64 KiB: qemu's bounds."""

L2_BITS = (6, 13)
"""L2 tables of 512 bytes to 64 KiB: qemu's bounds."""

L1_ENTRIES = ((1 << 31) - 1) // 8
"""Most entries of the L1 table: qemu's bound."""

BACKING_NAME = 1023
"""Longest name of a backing file in bytes: qemu's bound."""

L1_PIECE = 1 << 16
"""Entries of the L1 table that are looked at together: 512 KiB."""

L2_PIECE = 1 << 16
"""Entries of adjacent L2 tables that are looked at together: 512 KiB."""

CHECK_RUNS = 1 << 21
"""Stretches of the file among which overlaps and leaks are looked for: about 120 MiB of memory."""

STORED = 1 << 31
"""Bytes after which a run of encrypted sectors is cut: a stored length has 32 bits on the wire."""

TABLES = 256 << 10
"""Bytes of finished L2 tables that a writer keeps before it puts them, so that content stays in long stretches."""

WAITING = 4096
"""Stretches of entries that wait for what they lead to: a stop loses them."""

UNCOMMITTED = 256 << 20
"""Bytes past the end of a file that nothing leads to yet: a stop leaks them."""
