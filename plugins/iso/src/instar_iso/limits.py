"""Bounds of the ISO 9660 format, each with its reason."""

from __future__ import annotations

DESCRIPTORS = 64
"""Volume descriptors that are looked at: writers make two to five."""

PATH_TABLE = 4 << 20
"""Longest path table that is walked, in bytes: 65,535 directories, what its numbers can tell apart, take 2.8 MiB."""
