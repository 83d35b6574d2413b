"""JSON as qemu prints it: four spaces a level, keys in qemu's order, an empty list or object over two lines."""

from __future__ import annotations

from instar_core.cli.qdict import ordered

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, Final

SHORT: Final = {'"': '\\"', "\\": "\\\\", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
LONE: Final = range(0xD800, 0xE000)


def pretty(value: Any, depth: int = 0) -> str:
    """The value as JSON, without a newline at its end; `depth` is the level that its later lines stand on."""
    return "".join(_pieces(value, depth))


def line(value: Any) -> str:
    """The value as JSON on one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{quoted(key)}: {line(each)}" for key, each in ordered(value)) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(line, value)) + "]"
    return scalar(value)


def _pieces(value: Any, depth: int) -> Iterator[str]:
    if isinstance(value, dict):
        entries: list[tuple[str, Any]] = [(quoted(key) + ": ", each) for key, each in ordered(value)]
        opening, closing = "{", "}"
    elif isinstance(value, list | tuple):
        entries = [("", each) for each in value]
        opening, closing = "[", "]"
    else:
        yield scalar(value)
        return
    yield opening
    indent = "\n" + "    " * (depth + 1)
    for index, (key, each) in enumerate(entries):
        yield ("," if index else "") + indent + key
        yield from _pieces(each, depth + 1)
    yield "\n" + "    " * depth + closing


def scalar(value: Any) -> str:
    """A string, number, truth value or null."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, bytes):
        return quoted(value.decode("utf-8", "surrogateescape"))
    return quoted(str(value))


def quoted(text: str) -> str:
    """A JSON string in ASCII; what is no valid UTF-8 becomes \\uFFFD, byte by byte."""
    if text.isascii() and text.isprintable() and '"' not in text and "\\" not in text:
        return f'"{text}"'
    return '"' + "".join(map(_escape, text)) + '"'


def _escape(character: str) -> str:
    short = SHORT.get(character)
    if short is not None:
        return short
    code = ord(character)
    if 0x20 <= code < 0x7F:
        return character
    if code in LONE:
        code = 0xFFFD
    if code > 0xFFFF:
        code -= 0x10000
        return f"\\u{0xD800 + (code >> 10):04X}\\u{0xDC00 + (code & 0x3FF):04X}"
    return f"\\u{code:04X}"
