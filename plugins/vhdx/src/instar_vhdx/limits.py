"""Bounds of the VHDX format, each with its reason."""

from __future__ import annotations

KIB = 1 << 10
MIB = 1 << 20
GIB = 1 << 30
TIB = 1 << 40

VIRTUAL_SIZE = 64 * TIB
"""Largest virtual disk: the specification's bound."""

BLOCK_SMALLEST = MIB
BLOCK_LARGEST = 256 * MIB
"""Bounds of the size of a block: the specification's."""

ENTRIES = 2047
"""Most entries of a region table and of a metadata table: what the specification gives room for."""

ITEM = MIB
"""Longest metadata item: the specification's bound."""

LOCATOR_ENTRIES = 64
"""Entries of a parent locator that are read: the specification knows five keys."""

LOG = 64 * MIB
"""Longest log that is replayed: what can be read at once. Hyper-V and QEMU write logs of 1 MiB."""

LOG_WORK = 4
"""Bytes that may be looked at while the log's active sequence is sought, in lengths of the log: a sound log needs 2."""

LOG_ZEROED = GIB
"""Bytes that a log may zero: twice the largest block allocation table."""

FILE = 128 * TIB
"""Largest file that a log may want: twice the largest disk."""

BAT_PIECE = 1 << 17
"""Entries of the block allocation table that are looked at together, about: 1 MiB."""

WINDOW = 1 << 18
"""Entries of the block allocation table that a writer keeps before it puts them: 2 MiB."""

CHECK_RUNS = 1 << 20
"""Runs of blocks among which overlaps are looked for: about 100 MiB of memory."""

CHECK_LINES = 1 << 16
"""Findings of one kind that are told one by one; those after them are counted in one line."""

WAITING = 1 << 15
"""Entries of the block allocation table that wait for content to be on stable storage: of 32 GiB at the least."""
