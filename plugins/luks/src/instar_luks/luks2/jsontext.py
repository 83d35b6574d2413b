"""JSON read and written within bounds: as much as a LUKS2 header needs, so that nothing is imported for it.

Source: RFC 8259. Of numbers there are integers only; a name that an object has twice is refused.
"""

from __future__ import annotations

from instar_core.errors import ErrorKind, FormatError
from instar_luks import limits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

SPACE = " \t\n\r"
DIGITS = "0123456789"
ESCAPES = {'"': '"', "\\": "\\", "/": "/", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
WORDS = {"t": ("true", True), "f": ("false", False), "n": ("null", None)}
LONGEST_NUMBER = 20


def loads(data: bytes) -> Any:
    """The value that the text is. Raises FormatError for anything else, and (LIMIT) for more than the limits."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        raise _wrong("is not UTF-8") from None
    reader = _Reader(text)
    value = reader.value(0)
    if reader.next():
        raise _wrong("goes on after its end")
    return value


def dumps(value: Any) -> bytes:
    """The text of a value, without any space."""
    return _text(value).encode()


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ",".join(f"{_string(name)}:{_text(item)}" for name, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(_text(item) for item in value) + "]"
    if isinstance(value, str):
        return _string(value)
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value)


def _string(text: str) -> str:
    made = ["\\" + c if c in '"\\' else c if c >= " " else f"\\u{ord(c):04x}" for c in text]
    return '"' + "".join(made) + '"'


def _wrong(what: str) -> FormatError:
    return FormatError(f"LUKS2 metadata {what}", kind=ErrorKind.CORRUPT)


class _Reader:
    """One text and how far it has been read."""

    __slots__ = ("at", "count", "text")

    def __init__(self, text: str) -> None:
        self.text = text + "\0"
        self.at = 0
        self.count = 0

    def next(self) -> str:
        """The character that follows after any space; empty at the end."""
        while self.text[self.at] in SPACE:
            self.at += 1
        return "" if self.at == len(self.text) - 1 else self.text[self.at]

    def value(self, depth: int) -> Any:
        """The value that stands here."""
        self.count += 1
        if self.count > limits.JSON_VALUES or depth > limits.JSON_DEPTH:
            raise FormatError("LUKS2 metadata is too deep or too long", kind=ErrorKind.LIMIT)
        first = self.next()
        if first == "{":
            return self._object(depth)
        if first == "[":
            return self._list(depth)
        if first == '"':
            return self._quoted()
        word, meaning = WORDS.get(first, ("", None))
        if word and self.text.startswith(word, self.at):
            self.at += len(word)
            return meaning
        return self._number()

    def _object(self, depth: int) -> dict[str, Any]:
        made: dict[str, Any] = {}
        self.at += 1
        if self._is("}"):
            return made
        while True:
            if self.next() != '"':
                raise _wrong("has an object without a name")
            name = self._quoted()
            if name in made:
                raise _wrong(f"has '{name:.40}' twice")
            self._want(":")
            made[name] = self.value(depth + 1)
            if self._is("}"):
                return made
            self._want(",")

    def _list(self, depth: int) -> list[Any]:
        made: list[Any] = []
        self.at += 1
        if self._is("]"):
            return made
        while True:
            made.append(self.value(depth + 1))
            if self._is("]"):
                return made
            self._want(",")

    def _is(self, mark: str) -> bool:
        """Whether the mark follows; then it is behind us."""
        found = self.next() == mark
        self.at += found
        return found

    def _want(self, mark: str) -> None:
        if not self._is(mark):
            raise _wrong(f"lacks a '{mark}'")

    def _quoted(self) -> str:
        parts: list[str] = []
        at = self.at + 1
        while True:
            end = self.text.find('"', at)
            if end < 0:
                raise _wrong("has a string without an end")
            escape = self.text.find("\\", at, end)
            if escape < 0:
                parts.append(self.text[at:end])
                self.at = end + 1
                break
            parts.append(self.text[at:escape])
            mark = self.text[escape + 1]
            if mark == "u":
                code = self.text[escape + 2 : escape + 6]
                if len(code) < 4 or code.strip("0123456789abcdefABCDEF"):
                    raise _wrong("has a bad escape")
                parts.append(chr(int(code, 16)))
                at = escape + 6
            elif mark in ESCAPES:
                parts.append(ESCAPES[mark])
                at = escape + 2
            else:
                raise _wrong("has a bad escape")
        made = "".join(parts)
        if "\0" in made or any("\ud800" <= c <= "\udfff" for c in made):
            raise _wrong("has a string with characters that are none")
        return made

    def _number(self) -> int:
        start = self.at
        self.at += self.text[start] == "-"
        first = self.at
        while self.text[self.at] in DIGITS:
            self.at += 1
        count = self.at - first
        if not 0 < count <= LONGEST_NUMBER or (count > 1 and self.text[first] == "0") or self.text[self.at] in ".eE":
            raise _wrong("has something that is no value")
        return int(self.text[start : self.at])
