"""Bounds of the UDIF format, each with its reason."""

from __future__ import annotations

PLIST = 64 << 20
"""Longest property list in bytes: that of an image of about a million chunks, 256 GiB as hdiutil makes them."""

PLIST_PIECE = 1 << 18
"""Bytes of the property list that are parsed at once."""

DEPTH = 16
"""Deepest nesting of elements of a property list; that of an image has 6."""

NAME = 1024
"""Characters of a partition's name that are kept."""

RSRC = 64 << 20
"""Longest resource fork in bytes: a 24-bit offset reaches 16 MiB of its data."""

TABLES = 1024
"""Block tables of one image: each stands for a partition or what lies between."""

CHUNKS = 1 << 20
"""Chunks of one image, which are sorted in memory."""

SECTORS = (64 << 20) // 512
"""Sectors of a chunk that is to be decoded, and
LENGTH: bytes that it may be stored in. Both are qemu's bounds (CVE-2014-0145)."""
LENGTH = 64 << 20

TRAILER_SEARCH = 1023
"""Bytes of the end of the file in which the trailer is looked for: qemu finds it there."""

FINDINGS = 1000
"""Findings of one kind that a check tells one by one."""

LZMA_MEMORY = 256 << 20
"""Memory that an LZMA decoder may take."""
