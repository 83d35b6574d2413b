"""Bounds of the Parallels format, each with its reason."""

from __future__ import annotations

TRACKS = 0x7FFFFFFF // 513
"""Most sectors of a cluster, almost 2 GiB: qemu's bound."""

ENTRIES = 0x7FFFFFFF // 4
"""Most entries of the BAT: qemu's bound, by which it stays below 2 GiB."""

EXTENSION_SECTORS = (1 << 54) - 1
"""Last sector at which a Format Extension may lie: what a signed 64-bit offset can address."""

EXTENSION = 64 << 20
"""Largest cluster in bytes of an image with a Format Extension: it is read and hashed as a whole."""

GRANULARITY = 1 << 22
"""Most sectors of a bitmap's granularity: 2 GiB, as in qemu."""

BITMAPS = 65535
"""Most bitmaps: what an image may say of itself."""

PIECE = 1 << 16
"""BAT entries that are looked at together: 256 KiB, so that the work for a uniform piece is small."""

COPIES = 1 << 16
"""Clusters that one repair copies at most; a further repair copies more."""

COPIED = 32 << 20
"""Bytes that one repair may copy beyond the length of the image."""

FACTOR = 1 << 32
"""Clusters of a disk must be fewer: a BAT entry counts them in 32 bits."""

REACH = 1 << 63
"""What no place in a file reaches; offsets in images can, where they count sectors in 64 bits."""

WAITING = 4096
"""Stretches of clusters that wait to be committed: a stop loses them."""
