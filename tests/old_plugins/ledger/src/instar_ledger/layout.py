"""The layout of a ledger disk, as data. All numbers are big-endian, places and lengths are bytes.

The file is made of blocks of 64 KiB. The first begins with the head, which names the current page. The page holds all
that there is to know: chunks, each a tag, a length and its body. Nothing that a page refers to is ever overwritten:
every change writes a new page where nothing lies, and then the head, which fits a sector.

A table has an entry for each block of the disk: ABSENT (what the backing image has), ZERO, or the place of its content;
the low nine bits of that are the sectors that a compressed block takes, 0 for a plain one.
"""

from struct import Struct

MAGIC = b"LEDGER1\n"
HEAD = Struct(">8sQII")
"""Magic, place and length of the page, its CRC-32."""
CHUNK = Struct(">4sI")
SIZE, LABEL, BACKING, KEYS, TABLE, SNAPSHOT, BITMAP = b"SIZE", b"LABL", b"BACK", b"KEYS", b"TABL", b"SNAP", b"BITM"
SNAPSHOT_HEAD = Struct(">IQH")
"""Number, time in nanoseconds, length of the name; then name and table."""
BITMAP_HEAD = Struct(">QBH")
"""Granularity, flags, length of the name; then name and bits."""
ENABLED, IN_USE = 1, 2
KEYS_BODY = Struct(">QI32sI32s32sI")
"""Place of the key material; iterations and salt of the slot; iterations, salt and digest of the check; stripes."""

BLOCK = 64 << 10
SECTOR = 512
ABSENT, ZERO = 0, 1
SECTORS = SECTOR - 1
"""The bits of an entry that are not part of a place."""

CIPHER, KEY_SIZE, HASH, STRIPES, SALT = "aes-xts-plain64", 64, "sha256", 4000, 32
MATERIAL = KEY_SIZE * STRIPES

BLOCKS = 1 << 16
"""Most blocks of a disk: 4 GiB."""
MANY = 16
"""Most snapshots, and most bitmaps."""
PAGE = 32 << 20
"""Longest page: it fits one read."""
NAME = 255
