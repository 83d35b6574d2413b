"""Initialisation vectors of disk sectors, as dm-crypt and QEMU name them: plain, plain64 and essiv."""

from __future__ import annotations

import sys
from array import array

from instar_core.errors import ErrorKind, FormatError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Generator = Callable[[int, int], bytes]

PLAIN = (1 << 32) - 1
PLAIN64 = (1 << 64) - 1
SIZE = 16
"""Bytes of a vector: one block of AES."""


def generator(name: str, digest: str, key: bytes, encrypting: Callable[[bytes], Callable[[bytes], bytes]]) -> Generator:
    """A function (first sector, count) → that many vectors of SIZE bytes in a row.

    `digest` is the hash of essiv and `encrypting` makes the cipher with a key, which essiv needs; `key` is the volume
    key. Raises FormatError (UNSUPPORTED) for a name or a hash that is not known.
    """
    if name == "plain":
        return lambda first, count: _numbers(first, count, PLAIN)
    if name == "plain64":
        return lambda first, count: _numbers(first, count, PLAIN64)
    if name == "essiv":
        import hashlib

        try:
            salt = hashlib.new(digest, key, usedforsecurity=False).digest()
        except ValueError as error:
            raise FormatError(f"Hash algorithm '{digest}' not supported", kind=ErrorKind.UNSUPPORTED) from error
        encrypt = encrypting(salt)
        return lambda first, count: encrypt(_numbers(first, count, PLAIN64))
    raise FormatError(f"IV generator '{name}' not supported", kind=ErrorKind.UNSUPPORTED)


def _numbers(first: int, count: int, mask: int) -> bytes:
    """Sector numbers, cut to `mask`, as little-endian vectors."""
    made = array("Q", bytes(SIZE * count))
    made[::2] = array("Q", [number & mask for number in range(first, first + count)])
    if sys.byteorder == "big":
        made.byteswap()
    return made.tobytes()
