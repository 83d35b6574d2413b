"""CRC-32C (Castagnoli), over which headers, region tables and log entries of a VHDX file are summed.

The library crc32c computes it where it was imported before (see instar_vhdx.native); else tables in Python do.
"""

from __future__ import annotations

import sys

POLYNOMIAL = 0x82F63B78
"""Of CRC-32C, its bits reversed."""
ALL = 0xFFFFFFFF


def _table() -> tuple[int, ...]:
    made = []
    for byte in range(256):
        state = byte
        for _ in range(8):
            state = state >> 1 ^ (POLYNOMIAL if state & 1 else 0)
        made.append(state)
    return tuple(made)


TABLE = _table()


def crc32c(data: bytes) -> int:
    """The checksum of `data`."""
    library = sys.modules.get("crc32c")
    return library.crc32c(data) if library is not None else portable(data)


def portable(data: bytes) -> int:
    """The checksum of `data`, computed here. Zeros at the end cost nothing: most of a header is zeros."""
    shorter = data.rstrip(b"\0")
    table = TABLE
    state = ALL
    for byte in shorter:
        state = table[(state ^ byte) & 0xFF] ^ state >> 8
    return _zeros(state, len(data) - len(shorter)) ^ ALL


def summed(data: bytes, at: int = 4) -> int:
    """The checksum of a structure whose own checksum field, four bytes at `at`, counts as zero."""
    return crc32c(data[:at] + bytes(4) + data[at + 4 :])


def _zeros(state: int, count: int) -> int:
    """The state after `count` zero bytes more: the state times x^(8 * count), modulo the polynomial."""
    power = 1 << 31 - 8
    while count:
        if count & 1:
            state = _times(power, state)
        power = _times(power, power)
        count >>= 1
    return state


def _times(one: int, other: int) -> int:
    """The product of two polynomials modulo the polynomial; bit 31 is x^0."""
    product = 0
    bit = 1 << 31
    while one:
        if one & bit:
            product ^= other
            one ^= bit
        bit >>= 1
        other = other >> 1 ^ (POLYNOMIAL if other & 1 else 0)
    return product
