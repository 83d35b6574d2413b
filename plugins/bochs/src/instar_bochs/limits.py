"""Bounds of the Bochs format, each with its reason."""

from __future__ import annotations

CATALOG = 1 << 20
"""Entries of a catalog: what the largest disk that bximage makes (8 TiB) needs; qemu's bound."""

EXTENT = (1 << 9, 1 << 23)
"""Smallest and largest extent in bytes: qemu's bounds."""

PIECE = 1 << 16
"""Entries of a catalog that are looked at together."""
