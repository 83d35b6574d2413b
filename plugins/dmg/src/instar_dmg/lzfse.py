"""LZFSE, by the library of that name, which knows no bound: the blocks are added up before it is asked.

Apple's reference implementation, lzfse_internal.h, describes the blocks: little-endian, each begins with a magic.
"""

from __future__ import annotations

from struct import Struct, error

from instar_core.errors import ErrorKind, FormatError, NotInstalled

WORDS = Struct("<4sII")
"""Magic, bytes that the block decodes to, and, but for PLAIN and V2, bytes that follow."""
PACKED = Struct("<QQQ")
"""Of a block V2, behind magic and decoded length: sizes of its parts, packed."""

END, PLAIN, LZVN, V2 = b"bvx$", b"bvx-", b"bvxn", b"bvx2"
SIZE = (1 << 20) - 1
"""Sizes of a block's parts are packed into 20 bits."""


def decode(stored: bytes, unit: int) -> bytes:
    """The content, at most `unit` bytes. Raises FormatError (CORRUPT), NotInstalled."""
    try:
        import lzfse  # type: ignore[import-not-found,import-untyped,unused-ignore]
    except ImportError as missing:
        raise NotInstalled(
            "chunks in LZFSE need the package lzfse", hint="install the extra instar-dmg[lzfse]"
        ) from missing
    length = decoded_length(stored, unit)
    try:
        content: bytes = lzfse.decompress(stored)
    except lzfse.error as fault:
        raise FormatError(f"LZFSE data is corrupt: {fault}", kind=ErrorKind.CORRUPT) from fault
    if len(content) != length:
        raise FormatError("LZFSE data is corrupt: it decodes to another length", kind=ErrorKind.CORRUPT)
    return content


def decoded_length(stored: bytes, most: int) -> int:
    """The bytes that the blocks say they decode to. Raises FormatError (CORRUPT) for more than `most`."""
    at = total = 0
    try:
        while stored[at : at + 4] != END:
            raw, follows = _block(stored, at)
            total += raw
            at += follows
            if total > most:
                raise FormatError(f"LZFSE data is longer than {most} bytes", kind=ErrorKind.CORRUPT)
    except error as short:
        raise FormatError("LZFSE data ends too early", kind=ErrorKind.CORRUPT) from short
    return total


def _block(stored: bytes, at: int) -> tuple[int, int]:
    """Bytes that the block decodes to, and those that it takes."""
    magic, raw, size = WORDS.unpack_from(stored, at)
    if magic == PLAIN:
        return raw, 8 + raw
    if magic == LZVN:
        return raw, WORDS.size + size
    if magic == V2:
        literals, matches, header = PACKED.unpack_from(stored, at + 8)
        return raw, max(32, header & 0xFFFFFFFF) + (literals >> 20 & SIZE) + (matches >> 40 & SIZE)
    raise FormatError("LZFSE data is corrupt: an unknown block", kind=ErrorKind.CORRUPT)
