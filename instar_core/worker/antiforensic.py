"""Putting a key together again that was split over many stripes, so that erasing one of them destroys it.

Source: LUKS1 On-Disk Format Specification 1.2.3, section 2.4 (AFmerge).
"""

from __future__ import annotations

from hashlib import new


def merge(material: bytes, key_size: int, stripes: int, hash_name: str) -> bytes:
    """The key of `key_size` bytes that `stripes` stripes of as many bytes hold. More material is not looked at."""
    mixed = 0
    for index in range(stripes - 1):
        mixed ^= int.from_bytes(material[index * key_size : (index + 1) * key_size], "big")
        mixed = int.from_bytes(_diffuse(mixed.to_bytes(key_size, "big"), hash_name), "big")
    mixed ^= int.from_bytes(material[(stripes - 1) * key_size : stripes * key_size], "big")
    return mixed.to_bytes(key_size, "big")


def _diffuse(block: bytes, hash_name: str) -> bytes:
    """Each piece as long as a digest replaced by the digest of its number and itself, the last one cut to length."""
    size = new(hash_name, usedforsecurity=False).digest_size
    made = []
    for number, at in enumerate(range(0, len(block), size)):
        piece = block[at : at + size]
        made.append(new(hash_name, number.to_bytes(4, "big") + piece, usedforsecurity=False).digest()[: len(piece)])
    return b"".join(made)
