"""The layout of a QED image, as data. Source: docs/interop/qed_spec.rst of QEMU, whose words are used here.

All integers are little-endian.
"""

from __future__ import annotations

from struct import Struct

MAGIC = b"QED\0"

HEADER = Struct("<4sIIIQQQQQII")
"""magic, cluster_size, table_size, header_size, features, compat_features, autoclear_features, l1_table_offset,
image_size, backing_filename_offset, backing_filename_size (64 bytes)"""

FEATURES_OFFSET = 16
AUTOCLEAR_OFFSET = 32
L1_TABLE_OFFSET = 40
IMAGE_SIZE_OFFSET = 48

BACKING_FILE = 1 << 0
NEED_CHECK = 1 << 1
BACKING_FORMAT_NO_PROBE = 1 << 2
KNOWN = BACKING_FILE | NEED_CHECK | BACKING_FORMAT_NO_PROBE

UNALLOCATED = 0
"""Entry of a table that has no cluster."""
ZERO = 1
"""Entry of an L2 table whose cluster reads as zeros without having a place."""

ENTRY = 8
"""Bytes of an entry of a table."""

SECTOR = 512
