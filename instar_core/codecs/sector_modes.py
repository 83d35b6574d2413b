"""Modes of a block cipher over many sectors at once: ecb, cbc, ctr and xts, each from bulk ECB and exclusive or.

One call of the cipher library for a whole batch, instead of one for each sector, is what makes them fast.
"""

from __future__ import annotations

from instar_core.codecs.sector_bulk import BLOCK, bulk
from instar_core.errors import ErrorKind, FormatError, NotInstalled

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from instar_core.codecs.sector_bulk import Buffer

    Blocks = Callable[[Any], bytes]
    Sectors = Callable[[Buffer, bytes, int], Buffer]

AES_KEYS = (16, 24, 32)


def ecb(key: bytes, *, decrypt: bool) -> Blocks:
    """AES over whole blocks, each for itself. Raises FormatError (UNSUPPORTED) for a key that is none of AES."""
    if len(key) not in AES_KEYS:
        raise FormatError(f"No AES cipher with key size {len(key)} available", kind=ErrorKind.UNSUPPORTED)
    ciphers = _library()
    made = ciphers.Cipher(ciphers.algorithms.AES(key), ciphers.modes.ECB())
    update: Blocks = (made.decryptor() if decrypt else made.encryptor()).update
    return update


def _library() -> Any:
    try:
        from cryptography.hazmat.primitives import ciphers
        from cryptography.hazmat.primitives.ciphers import algorithms, modes  # noqa: F401
    except ImportError as error:
        raise NotInstalled(
            "encrypted images need the package cryptography", hint="install the extra instar[crypto]"
        ) from error
    return ciphers


def mode(name: str, key: bytes, *, decrypt: bool, fast: bool) -> Sectors:
    """A function (sectors, their vectors, bytes of a sector) → the sectors decrypted or encrypted.

    The data is a multiple of the sector and the sector of BLOCK. Raises FormatError (UNSUPPORTED) for an unknown mode.
    """
    make = MODES.get(name)
    if make is None:
        raise FormatError(f"Cipher mode '{name}' not supported", kind=ErrorKind.UNSUPPORTED)
    return make(key, decrypt, fast)


def _ecb(key: bytes, decrypt: bool, fast: bool) -> Sectors:
    blocks = ecb(key, decrypt=decrypt)
    return lambda data, vectors, unit: blocks(data)


def _xts(key: bytes, decrypt: bool, fast: bool) -> Sectors:
    """IEEE 1619: the first half of the key for the data, the second for the tweaks."""
    if len(key) % 2:
        raise FormatError("XTS cipher key length should be a multiple of 2", kind=ErrorKind.UNSUPPORTED)
    half = len(key) // 2
    blocks = ecb(key[:half], decrypt=decrypt)
    tweak = ecb(key[half:], decrypt=False)
    xor, tweaks = bulk(fast)

    def run(data: Buffer, vectors: bytes, unit: int) -> Buffer:
        mask = tweaks(tweak(vectors), unit // BLOCK)
        return xor(blocks(xor(data, mask)), mask)

    return run


def _cbc(key: bytes, decrypt: bool, fast: bool) -> Sectors:
    if not decrypt:
        return _cbc_encrypt(key)
    blocks = ecb(key, decrypt=True)
    xor = bulk(fast).xor

    def run(data: Buffer, vectors: bytes, unit: int) -> Buffer:
        before: list[Buffer] = []
        for at in range(0, len(data), unit):
            number = at // unit
            before += (vectors[number * BLOCK : (number + 1) * BLOCK], data[at : at + unit - BLOCK])
        return xor(blocks(data), b"".join(before))

    return run


def _cbc_encrypt(key: bytes) -> Sectors:
    """Each block needs the one before it, so here the library does sector by sector."""
    ecb(key, decrypt=False)
    ciphers = _library()
    cipher = ciphers.algorithms.AES(key)

    def run(data: Buffer, vectors: bytes, unit: int) -> Buffer:
        made = []
        for number in range(len(data) // unit):
            vector = vectors[number * BLOCK : (number + 1) * BLOCK]
            encryptor = ciphers.Cipher(cipher, ciphers.modes.CBC(vector)).encryptor()
            made.append(encryptor.update(data[number * unit : (number + 1) * unit]))
        return b"".join(made)

    return run


def _ctr(key: bytes, decrypt: bool, fast: bool) -> Sectors:
    """The vector is the first counter of its sector, counted big-endian."""
    blocks = ecb(key, decrypt=False)
    xor = bulk(fast).xor
    wrap = (1 << 8 * BLOCK) - 1

    def run(data: Buffer, vectors: bytes, unit: int) -> Buffer:
        counters = []
        for at in range(0, len(vectors), BLOCK):
            first = int.from_bytes(vectors[at : at + BLOCK], "big")
            counters += [((first + step) & wrap).to_bytes(BLOCK, "big") for step in range(unit // BLOCK)]
        return xor(data, blocks(b"".join(counters)))

    return run


MODES = {"ecb": _ecb, "cbc": _cbc, "ctr": _ctr, "xts": _xts}
