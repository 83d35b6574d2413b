"""Bounds on what a qcow2 image may claim, each with its reason. They are qemu's: no image that it opens is refused."""

from __future__ import annotations

from instar_core.limits import KIB, MIB

L1_TABLE = 32 * MIB
"""Bytes of an L1 table: 2 EiB of disk with 64 KiB clusters."""

REFCOUNT_TABLE = 8 * MIB
"""Bytes of the refcount table: 2 PiB of file with 64 KiB clusters and 16-bit refcounts."""

REFCOUNT_ORDER = 6
"""Log2 of the widest refcount entry in bits."""

SNAPSHOTS = 65536
"""Snapshots of one image."""

SNAPSHOT_TABLE = 64 * MIB
"""Bytes of the snapshot table: 1 KiB for each snapshot."""

SNAPSHOT_EXTRA = KIB
"""Bytes of extra data of one snapshot: 24 are defined."""

BACKING_NAME = 1023
"""Bytes of a backing file's name."""

BACKING_FORMAT = 15
"""Bytes of a backing file's format name."""

DATA_FILE_NAME = 4095
"""Bytes of an external data file's name: PATH_MAX less the NUL."""

FEATURE_NAMES = 192
"""Entries of the feature-name table: three types of 64 bits."""

EXTENSIONS = 1024
"""Header extensions: a cluster has room for a quarter of a million empty ones."""

BITMAPS = 65535
"""Bitmaps of one image."""

BITMAP_DIRECTORY = BITMAPS * KIB
"""Bytes of the bitmap directory."""

BITMAP_TABLE = 0x8000000 // 8
"""Entries of a bitmap table (a table of 128 MiB)."""

BITMAP_BYTES = 0x20000000
"""Bytes of a bitmap's data: 512 MiB, or 256 TiB of disk with a granularity of 64 KiB."""

BITMAP_GRANULARITY_BITS = (9, 31)
"""Log2 of the finest and the coarsest granularity in bytes."""

BITMAP_NAME = 1023
"""Bytes of a bitmap's name."""

CLUSTERS = (1 << 31) - 1
"""Clusters of a file that is checked: 128 TiB with 64 KiB clusters."""

ENCRYPTED = 1 << 31
"""Bytes after which encrypted content is cut into a further extent: a stored length has 32 bits on the wire."""
