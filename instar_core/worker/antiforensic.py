"""Splitting a key over many stripes, so that erasing one of them destroys it, and putting it together again.

Source: LUKS1 On-Disk Format Specification 1.2.3, section 2.4 (AFsplit, AFmerge).
"""

from __future__ import annotations

from hashlib import new


def split(key: bytes, stripes: int, hash_name: str, random: bytes) -> bytes:
    """`stripes` stripes as long as the key that hold it: all but the last are `random`."""
    size = len(key)
    mixed = _mixed(random, size, stripes, hash_name)
    return random[: size * (stripes - 1)] + (mixed ^ int.from_bytes(key, "big")).to_bytes(size, "big")


def merge(material: bytes, key_size: int, stripes: int, hash_name: str) -> bytes:
    """The key of `key_size` bytes that `stripes` stripes of as many bytes hold. More material is not looked at."""
    mixed = _mixed(material, key_size, stripes, hash_name)
    mixed ^= int.from_bytes(material[(stripes - 1) * key_size : stripes * key_size], "big")
    return mixed.to_bytes(key_size, "big")


def _mixed(material: bytes, key_size: int, stripes: int, hash_name: str) -> int:
    """What all stripes but the last come to."""
    mixed = 0
    for index in range(stripes - 1):
        mixed ^= int.from_bytes(material[index * key_size : (index + 1) * key_size], "big")
        mixed = int.from_bytes(_diffuse(mixed.to_bytes(key_size, "big"), hash_name), "big")
    return mixed


def _diffuse(block: bytes, hash_name: str) -> bytes:
    """Each piece as long as a digest replaced by the digest of its number and itself, the last one cut to length."""
    size = new(hash_name, usedforsecurity=False).digest_size
    made = []
    for number, at in enumerate(range(0, len(block), size)):
        piece = block[at : at + size]
        made.append(new(hash_name, number.to_bytes(4, "big") + piece, usedforsecurity=False).digest()[: len(piece)])
    return b"".join(made)
