"""UTF-16, little-endian, by the interpreter's own functions: the codec's module cannot be imported inside a sandbox."""

from __future__ import annotations

from codecs import utf_16_le_decode, utf_16_le_encode


def decode(data: bytes, errors: str = "strict") -> str:
    """The text. Raises UnicodeDecodeError."""
    return utf_16_le_decode(data, errors, True)[0]


def encode(text: str, errors: str = "strict") -> bytes:
    """The text as it is stored. Raises UnicodeEncodeError."""
    return utf_16_le_encode(text, errors)[0]
