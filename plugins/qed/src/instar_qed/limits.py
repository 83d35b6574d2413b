"""Bounds of the QED format, each with its reason."""

from __future__ import annotations

CLUSTER_SIZE = (1 << 12, 1 << 26)
"""Smallest and largest cluster in bytes: the specification's."""

TABLE_SIZE = (1, 16)
"""Smallest and largest table in clusters: the specification's."""

BACKING_NAME = 4095
"""Bytes of a backing file's name: PATH_MAX less the NUL, qemu's bound."""

TABLE_PIECE = 1 << 16
"""Entries of a table that are looked at together (512 KiB): a table may have a gigabyte."""

CLUSTERS = 1 << 34
"""Clusters of a file that is checked: 64 TiB with the smallest ones."""

WINDOW = 1 << 18
"""Table entries that a writer keeps before it puts them: 2 MiB."""

WAITING = 4096
"""Stretches of entries that wait for what they lead to: a stop loses them."""

UNCOMMITTED = 256 << 20
"""Bytes past the end of a file that nothing leads to yet: a stop leaks them."""

COMPACTED = 1 << 30
"""Bytes that one repair moves at most to free leaked clusters."""

MOVES = 1 << 16
"""Clusters that one repair moves at most: a list of them is kept."""

LEAKS = 1 << 16
"""Stretches of leaked clusters that are freed at most: a list of them is kept."""
