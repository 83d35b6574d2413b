"""Refcounts as they are stored, and as they are held: in as few bytes each as the largest of them needs.

Source: docs/interop/qcow2.txt of QEMU, "Host cluster management".
"""

from __future__ import annotations

from array import array
from sys import byteorder

CODES = {1: "B", 2: "H", 4: "I", 8: "Q"}
"""Type codes of arrays by the bytes of an item."""


def decoded(block: bytes, bits: int) -> array[int]:
    """The refcounts of a stored block, each of so many bits, in the narrowest array that holds them."""
    if bits < 8:
        each, most = 8 // bits, (1 << bits) - 1
        wide = bytearray(len(block) * each)
        for at in range(each):
            wide[at::each] = block.translate(bytes(byte >> bits * at & most for byte in range(256)))
        return array("B", bytes(wide))
    stored = bits // 8
    high = next((at for at in range(stored - 1) if any(block[at::stored])), stored - 1)
    width = next(width for width in CODES if width >= stored - high)
    return array(CODES[width], _restored(block, stored, "big", width, byteorder))


def encoded(counts: array[int], bits: int) -> bytes:
    """Refcounts as they are stored with a width of so many bits, which they must fit in."""
    data = counts.tobytes()
    if bits >= 8:
        return _restored(data, counts.itemsize, byteorder, bits // 8, "big")
    each, total = 8 // bits, 0
    data = _restored(data, counts.itemsize, byteorder, 1, "big")
    for at in range(each):
        total |= int.from_bytes(data[at::each], "big") << bits * at
    return total.to_bytes(len(data) // each, "big")


def widened(counts: array[int], width: int) -> array[int]:
    """The same refcounts in items of so many bytes, which they must fit in."""
    return array(CODES[width], _restored(counts.tobytes(), counts.itemsize, byteorder, width, byteorder))


def bytes_of(value: int) -> int:
    """The bytes of the narrowest item that holds the value."""
    return next(width for width in CODES if value < 1 << 8 * width)


def _restored(data: bytes, old: int, old_order: str, new: int, new_order: str) -> bytes:
    """Numbers of `old` bytes each as such of `new`: their low bytes stay, further ones are zeros."""
    made = bytearray(len(data) // old * new)
    for at in range(min(old, new)):
        source = at if old_order == "little" else old - 1 - at
        made[at if new_order == "little" else new - 1 - at :: new] = data[source::old]
    return bytes(made)
