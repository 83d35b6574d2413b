"""Modes of a block cipher over many sectors at once: ecb, cbc, ctr and xts, each from bulk ECB and exclusive or.

One call of the cipher library for a whole batch, instead of one for each sector, is what makes them fast.
"""

from __future__ import annotations

from instar_core.codecs import blocks
from instar_core.codecs.blocks import SIZES
from instar_core.codecs.sector_bulk import BLOCK, bulk
from instar_core.errors import ErrorKind, FormatError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from instar_core.codecs.sector_bulk import Buffer

    Sectors = Callable[[Buffer, Buffer, int, memoryview], None]
    Made = Callable[[Buffer, Buffer, int], Buffer]


def mode(name: str, cipher: str, key: bytes, *, decrypt: bool, fast: bool) -> Sectors:
    """A function (sectors, their vectors, bytes of a sector, room): afterwards the room holds them, decrypted or
    encrypted.

    The data, as long as the room, is a multiple of the sector and the sector of the cipher's block; a vector is one
    block. Raises FormatError (UNSUPPORTED) for an unknown mode or cipher, NotInstalled where a library is missing.
    """
    make = MODES.get(name)
    if make is None:
        raise FormatError(f"Cipher mode '{name}' not supported", kind=ErrorKind.UNSUPPORTED)
    return make(cipher, key, decrypt, fast)


def _copied(made: Made) -> Sectors:
    """The same, what was made being copied."""

    def sectors(data: Buffer, vectors: Buffer, unit: int, room: memoryview) -> None:
        room[:] = made(data, vectors, unit)

    return sectors


def _ecb(cipher: str, key: bytes, decrypt: bool, fast: bool) -> Sectors:
    run = blocks.ecb(cipher, key, decrypt=decrypt)
    return _copied(lambda data, vectors, unit: run(data))


def _xts(cipher: str, key: bytes, decrypt: bool, fast: bool) -> Sectors:
    """IEEE 1619: the first half of the key for the data, the second for the tweaks."""
    if SIZES.get(cipher, BLOCK) != BLOCK:
        raise FormatError("Unsupported cipher mode xts", kind=ErrorKind.UNSUPPORTED)
    if len(key) % 2:
        raise FormatError("XTS cipher key length should be a multiple of 2", kind=ErrorKind.UNSUPPORTED)
    half = len(key) // 2
    run = blocks.ecb(cipher, key[:half], decrypt=decrypt)
    tweak = blocks.ecb(cipher, key[half:], decrypt=False)
    xor, tweaks, xor_into = bulk(fast)
    run_into = None if xor_into is None else blocks.ecb_into(cipher, key[:half], decrypt=decrypt)
    if run_into is None or xor_into is None:

        def made(data: Buffer, vectors: Buffer, unit: int) -> Buffer:
            mask = tweaks(bytes(tweak(vectors)), unit // BLOCK)
            return xor(run(xor(data, mask)), mask)

        return _copied(made)

    # Used again for every batch: memory that is new each time costs as much as all of the arithmetic.
    scratch = bytearray(), bytearray()

    def sectors(data: Buffer, vectors: Buffer, unit: int, room: memoryview) -> None:
        nonlocal scratch
        mask = tweaks(bytes(tweak(vectors)), unit // BLOCK)
        length = len(data)
        if len(scratch[0]) != length:
            scratch = bytearray(length), bytearray(length + blocks.SLACK)
        source, target = scratch
        xor_into(data, mask, source)
        run_into(source, target)
        xor_into(memoryview(target)[:length], mask, room)

    return sectors


def _cbc(cipher: str, key: bytes, decrypt: bool, fast: bool) -> Sectors:
    if not decrypt:
        return _cbc_encrypt(cipher, key)
    run = blocks.ecb(cipher, key, decrypt=True)
    block = SIZES[cipher]
    xor = bulk(fast).xor

    def made(data: Buffer, vectors: Buffer, unit: int) -> Buffer:
        before: list[Buffer] = []
        for at in range(0, len(data), unit):
            number = at // unit
            before += (vectors[number * block : (number + 1) * block], data[at : at + unit - block])
        return xor(run(data), b"".join(before))

    return _copied(made)


def _cbc_encrypt(cipher: str, key: bytes) -> Sectors:
    """Each block needs the one before it, so here the library does sector by sector."""
    chained = blocks.cbc(cipher, key)
    block = SIZES[cipher]

    def made(data: Buffer, vectors: Buffer, unit: int) -> Buffer:
        parts = []
        for number in range(len(data) // unit):
            vector = bytes(vectors[number * block : (number + 1) * block])
            parts.append(chained(vector, data[number * unit : (number + 1) * unit]))
        return b"".join(parts)

    return _copied(made)


def _ctr(cipher: str, key: bytes, decrypt: bool, fast: bool) -> Sectors:
    """The vector is the first counter of its sector, counted big-endian."""
    run = blocks.ecb(cipher, key, decrypt=False)
    block = SIZES[cipher]
    xor = bulk(fast).xor
    wrap = (1 << 8 * block) - 1

    def made(data: Buffer, vectors: Buffer, unit: int) -> Buffer:
        counters = []
        for at in range(0, len(vectors), block):
            first = int.from_bytes(vectors[at : at + block], "big")
            counters += [((first + step) & wrap).to_bytes(block, "big") for step in range(unit // block)]
        return xor(data, run(b"".join(counters)))

    return _copied(made)


MODES = {"ecb": _ecb, "cbc": _cbc, "ctr": _ctr, "xts": _xts}
