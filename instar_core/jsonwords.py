"""JSON as QEMU reads it in a name: strings may stand in single quotes too, a key may not come twice.

Errors are told in its words, with line and column, both from 1 and in bytes.
"""

from __future__ import annotations

import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, Final, NamedTuple
else:
    from instar_core.record import NamedTuple

DEPTH: Final = 256
"""Most objects and lists within one another."""
TOKEN: Final = re.compile(
    rb"(?P<space>[ \t\r\n]+)|(?P<mark>[{}\[\]:,])|(?P<word>[a-z]+)|"
    rb"(?P<number>-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?(?![0-9.eE]))|"
    rb"(?P<text>\"(?:\\.|[^\"\\\x00-\x1f])*\"|'(?:\\.|[^'\\\x00-\x1f])*')",
    re.DOTALL,
)
STRAY: Final = re.compile(rb"[\"'](?:\\.|[^\\\x00-\x1f])*|-?[0-9]+(?:\.[0-9]*)?(?:[eE][-+]?[0-9]*)?.?|.", re.DOTALL)
WORDS: Final = {b"true": True, b"false": False, b"null": None}
ESCAPES: Final = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", '"': '"', "'": "'", "\\": "\\", "/": "/"}
HEX: Final = 4
"""Digits of a character by its number."""


class Token(NamedTuple):
    """A word of the text: its kind, its bytes, and where it begins."""

    kind: str
    text: bytes
    line: int
    column: int


END: Final = "end"


def _tokens(data: bytes) -> Iterator[Token]:
    at, line, start = 0, 1, 0
    late = False
    while at < len(data):
        found = TOKEN.match(data, at)
        column = at - start + 1
        if found is None:
            stray = STRAY.match(data, at)
            text = stray[0] if stray else data[at : at + 1]
            raise _wrong(Token("stray", text, line, column), f"stray '{_shown(text)}'")
        kind, text = str(found.lastgroup), found[0]
        if kind != "space":
            yield Token(kind, text, line, column)
        if b"\n" in text:
            line += text.count(b"\n")
            start = at + text.rfind(b"\n") + 1
        late = kind in ("number", "word")
        at = found.end()
    yield Token(END, b"", line, at - start + 1 + late)


def _shown(text: bytes) -> str:
    return text.decode("utf-8", "replace")


def _wrong(token: Token, what: str) -> ValueError:
    return ValueError(f"{token.line}:{token.column}: JSON parse error, {what}")


class _Reader:
    def __init__(self, data: bytes) -> None:
        self.tokens = _tokens(data)
        self.token = next(self.tokens)

    def step(self) -> Token:
        taken = self.token
        if taken.kind == END:
            raise _wrong(taken, "premature end of input")
        self.token = next(self.tokens)
        return taken

    def value(self, depth: int) -> Any:
        token = self.step()
        if depth > DEPTH:
            raise ValueError("JSON nesting depth limit exceeded")
        if token.text == b"{":
            return self.object(depth)
        if token.text == b"[":
            return self.list(depth)
        if token.kind == "word":
            if token.text not in WORDS:
                raise _wrong(token, f"invalid keyword '{_shown(token.text)}'")
            return WORDS[token.text]
        if token.kind == "number":
            return float(token.text) if set(token.text) & set(b".eE") else int(token.text)
        if token.kind == "text":
            return _text(token)
        raise _wrong(token, "expecting value")

    def object(self, depth: int) -> dict[str, Any]:
        made: dict[str, Any] = {}
        if self.token.text == b"}":
            self.step()
            return made
        while True:
            token = self.step()
            if token.kind != "text":
                raise _wrong(token, "expecting key")
            key = _text(token)
            token = self.step()
            if token.text != b":":
                raise _wrong(token, "expecting ':'")
            last = self.token
            value = self.value(depth + 1)
            if key in made:
                raise _wrong(last, "duplicate key")
            made[key] = value
            token = self.step()
            if token.text == b"}":
                return made
            if token.text != b",":
                raise _wrong(token, "expected ',' or '}'")

    def list(self, depth: int) -> list[Any]:
        made: list[Any] = []
        if self.token.text == b"]":
            self.step()
            return made
        while True:
            made.append(self.value(depth + 1))
            token = self.step()
            if token.text == b"]":
                return made
            if token.text != b",":
                raise _wrong(token, "expected ',' or ']'")


def _text(token: Token) -> str:
    """The text that a token in quotes means."""
    inner = token.text[1:-1].decode("utf-8", "surrogateescape")
    parts, at = [], 0
    while True:
        escape = inner.find("\\", at)
        if escape < 0:
            break
        parts.append(inner[at:escape])
        letter = inner[escape + 1]
        at = escape + 2
        if letter == "u":
            digits = inner[at : at + HEX]
            if len(digits) < HEX or not re.fullmatch("[0-9a-fA-F]{4}", digits) or digits == "0000":
                shown = (inner[escape:] + _shown(token.text[-1:]))[: HEX + 2]
                raise _wrong(token, f"{shown} is not a valid Unicode character")
            parts.append(chr(int(digits, 16)))
            at += HEX
        elif letter in ESCAPES:
            parts.append(ESCAPES[letter])
        else:
            raise _wrong(token, "invalid escape sequence in string")
    text = "".join([*parts, inner[at:]])
    return text.encode("utf-16", "surrogatepass").decode("utf-16") if _paired(text) else text


def _paired(text: str) -> bool:
    """Whether two numbers stand for one character."""
    return re.search("[\ud800-\udbff][\udc00-\udfff]", text) is not None


def parse(text: str) -> Any:
    """What the text means. Raises ValueError in QEMU's words."""
    reader = _Reader(text.encode("utf-8", "surrogateescape"))
    if reader.token.kind == END:
        raise ValueError("Expecting a JSON value")
    value = reader.value(0)
    if reader.token.kind != END:
        raise ValueError("Expecting at most one JSON value")
    return value
