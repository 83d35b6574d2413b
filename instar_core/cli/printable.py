"""Text from an image, fit for a terminal."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

TURNING: Final = frozenset({0x2028, 0x2029, *range(0x202A, 0x202F), *range(0x2066, 0x206A), 0x200E, 0x200F, 0x061C})
"""Characters that break lines or turn the direction of writing: a name could pretend to be another."""


def printable(text: str) -> str:
    """The text with control characters as \\x1b or \\u202e; everything else, invalid UTF-8 included, as it is."""
    if text.isprintable():
        return text
    return "".join(map(_shown, text))


def _shown(character: str) -> str:
    code = ord(character)
    if code < 0x20 or 0x7F <= code < 0xA0:
        return f"\\x{code:02x}"
    if code in TURNING:
        return f"\\u{code:04x}"
    if 0xDC80 <= code < 0xDCA0:
        # A lone byte that terminals in an 8-bit character set take for a control character.
        return f"\\x{code - 0xDC00:02x}"
    return character
