"""Sizes and numbers as qemu-img reads them."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

SUFFIXES: Final = {"b": 0, "k": 10, "m": 20, "g": 30, "t": 40, "p": 50, "e": 60}
HIGHEST: Final = (1 << 63) - 1
WORD: Final = 1 << 64
DECIMAL: Final = frozenset("0123456789")
HEXADECIMAL: Final = frozenset("0123456789abcdefABCDEF")
SPACE: Final = " \t\n\v\f\r"


class OutOfRange(ValueError):
    """The text is a size, but not one that 64 bits hold."""


def parse_size(text: str) -> int:
    """Bytes that the text names: decimal or 0x hexadecimal, then one letter of bkKMGTPE, powers of 1024.

    A fraction needs a suffix (and is cut to whole bytes). A whole number with a minus sign is out of range,
    even zero. Raises OutOfRange, or ValueError for what is no size at all.
    """
    rest = text.lstrip(SPACE)
    negative = rest.startswith("-")
    if rest[:1] in ("-", "+") and rest:
        rest = rest[1:]
    if rest[:2] in ("0x", "0X"):
        whole, rest = _take(rest[2:], HEXADECIMAL)
        if not whole or rest:
            raise ValueError(text)
        value = int(whole, 16)
    else:
        whole, rest = _take(rest, DECIMAL)
        fraction = ""
        if rest.startswith("."):
            fraction, rest = _take(rest[1:], DECIMAL)
            if not fraction and not whole:
                raise ValueError(text)
        elif not whole:
            raise ValueError(text)
        shift = SUFFIXES.get(rest.lower()) if rest else None
        if rest and shift is None:
            raise ValueError(text)
        if fraction.strip("0") and not shift:
            raise ValueError(text)
        if negative and (rest or fraction):
            raise ValueError(text)
        value = int(whole or "0") << (shift or 0)
        if fraction and shift:
            value += (int(fraction) << shift) // 10 ** len(fraction)
    if negative or value >= WORD:
        raise OutOfRange(text)
    return value


def _take(text: str, allowed: frozenset[str]) -> tuple[str, str]:
    end = 0
    while end < len(text) and text[end] in allowed:
        end += 1
    return text[:end], text[end:]


def parse_number(text: str) -> int:
    """An integer as C's strtoull(base 0) reads it: decimal, 0x or octal, with a sign.

    Raises OutOfRange beyond 64 bits, ValueError for anything else that is no number.
    """
    rest = text.lstrip(SPACE)
    negative = rest.startswith("-")
    if rest[:1] in ("-", "+") and rest:
        rest = rest[1:]
    if not rest or rest[0] not in DECIMAL or "_" in rest:
        raise ValueError(text)
    hexadecimal = rest[:2] in ("0x", "0X")
    value = int(rest[2:], 16) if hexadecimal else int(rest, 8 if rest[0] == "0" else 10)
    if value >= WORD:
        raise OutOfRange(text)
    return (WORD - value) % WORD if negative else value
