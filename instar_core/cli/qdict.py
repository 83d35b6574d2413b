"""The order in which qemu prints the keys of an object.

qemu keeps objects in a hash table of 512 buckets and prints them bucket by bucket, in a bucket the newest first; the
hash is that of tdb, the trivial database.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, Final

BUCKETS: Final = 512
MASK: Final = 0xFFFFFFFF


def bucket(key: str) -> int:
    """The bucket that a key falls into."""
    name = key.encode("utf-8", "surrogateescape")
    value = 0x238F13AF * len(name)
    for index, byte in enumerate(name):
        value += byte << index * 5 % 24
    return (1103515243 * (value & MASK) + 12345 & MASK) % BUCKETS


def ordered(entries: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """The entries in qemu's order; their own order counts as that of insertion."""
    newest_first = list(entries.items())[::-1]
    return sorted(newest_first, key=lambda entry: bucket(entry[0]))
