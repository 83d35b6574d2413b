"""Initialisation vectors of disk sectors, as dm-crypt and QEMU name them: plain, plain64, plain64be, essiv, null."""

from __future__ import annotations

import sys
from array import array

from instar_core.errors import ErrorKind, FormatError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from instar_core.codecs.sector_bulk import Buffer

    Generator = Callable[[int, int], Buffer]

PLAIN = (1 << 32) - 1
PLAIN64 = (1 << 64) - 1
WORD = 8


def generator(
    name: str, digest: str, key: bytes, encrypting: Callable[[bytes], Callable[[bytes], Buffer]], size: int, step: int
) -> Generator:
    """A function (first number, count) → that many vectors of `size` bytes (one block) in a row.

    One sector's number is that of the sector before it and `step`. `digest` is the hash of essiv and `encrypting` makes
    the cipher with a key, which essiv needs; `key` is the volume key. Raises FormatError (UNSUPPORTED) for a name or a
    hash that is not known.
    """
    if name == "plain":
        return lambda first, count: _numbers(first, count, step, PLAIN, size)
    if name == "plain64":
        return lambda first, count: _numbers(first, count, step, PLAIN64, size)
    if name == "plain64be":
        return lambda first, count: _numbers(first, count, step, PLAIN64, size, "big")
    if name == "null":
        return lambda first, count: bytes(size * count)
    if name == "essiv":
        import hashlib

        try:
            salt = hashlib.new(digest, key, usedforsecurity=False).digest()
        except ValueError as error:
            raise FormatError(f"Hash algorithm '{digest}' not supported", kind=ErrorKind.UNSUPPORTED) from error
        encrypt = encrypting(salt)
        return lambda first, count: encrypt(_numbers(first, count, step, PLAIN64, size))
    raise FormatError(f"IV generator '{name}' not supported", kind=ErrorKind.UNSUPPORTED)


def _numbers(first: int, count: int, step: int, mask: int, size: int, order: str = "little") -> bytes:
    """Sector numbers, cut to `mask`, as vectors: little-endian in the first word of each, or big-endian in the last."""
    words = size // WORD
    made = array("Q", bytes(size * count))
    every = range(first, first + count * step, step)
    inside = first + count * step - step <= mask
    numbers = array("Q", every if inside else [number & mask for number in every])
    made[0 if order == "little" else words - 1 :: words] = numbers
    if order != sys.byteorder:
        made.byteswap()
    return made.tobytes()
