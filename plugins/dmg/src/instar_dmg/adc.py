"""Apple Data Compression: literals, and matches at most 64 KiB back.

Described by the reverse engineers of the format; a first byte says which of three kinds of code follows.
"""

from __future__ import annotations

from instar_core.errors import ErrorKind, FormatError

LITERAL, LONG = 0x80, 0x40


def decode(stored: bytes, most: int) -> bytes:
    """The content, at most `most` bytes. Raises FormatError (CORRUPT) where a code makes no sense."""
    made = bytearray()
    at, end = 0, len(stored)
    while at < end and len(made) < most:
        code = stored[at]
        if code & LITERAL:
            length = (code & 0x7F) + 1
            if at + 1 + length > end:
                raise _corrupt("ends inside a literal")
            made += stored[at + 1 : at + 1 + length]
            at += 1 + length
            continue
        size = 3 if code & LONG else 2
        if at + size > end:
            raise _corrupt("ends inside a match")
        if code & LONG:
            length, back = (code & 0x3F) + 4, (stored[at + 1] << 8 | stored[at + 2]) + 1
        else:
            length, back = (code >> 2 & 0xF) + 3, ((code & 3) << 8 | stored[at + 1]) + 1
        if back > len(made):
            raise _corrupt("refers to what is before its beginning")
        piece = made[-back:][:length]
        while len(piece) < length:
            piece += piece[: length - len(piece)]
        made += piece
        at += size
    return bytes(made[:most])


def _corrupt(why: str) -> FormatError:
    return FormatError(f"ADC data {why}", kind=ErrorKind.CORRUPT)
