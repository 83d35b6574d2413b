"""Fields of the metadata's objects, each of the type that the specification gives it."""

from __future__ import annotations

from binascii import Error, a2b_base64

from instar_core.errors import ErrorKind, FormatError
from instar_luks import limits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

LONGEST = 1 << 63


def wrong(text: str) -> FormatError:
    """The error that says so of the metadata."""
    return FormatError(f"LUKS2 metadata: {text}", kind=ErrorKind.CORRUPT)


class Object:
    """A JSON object, and what it is called in messages."""

    __slots__ = ("name", "values")

    def __init__(self, values: Any, name: str) -> None:
        if not isinstance(values, dict):
            raise wrong(f"{name} is no object")
        self.values = values
        self.name = name

    def object(self, key: str) -> Object:
        """The object of this name."""
        return Object(self.values.get(key), f"{key} of {self.name}")

    def text(self, key: str) -> str:
        """The string of this name."""
        value = self.values.get(key)
        if not isinstance(value, str):
            raise wrong(f"{self.name} has no string '{key}'")
        return value

    def number(self, key: str, least: int = 0) -> int:
        """The integer of this name, at least `least` and below 2^63."""
        value = self.values.get(key)
        if type(value) is not int or not least <= value < LONGEST:
            raise wrong(f"{self.name} has no possible number '{key}'")
        return value

    def long(self, key: str) -> int:
        """The 64-bit integer of this name, which the metadata keep as a string."""
        text = self.text(key)
        if not (text.isascii() and text.isdigit() and len(text) <= 20 and int(text) < LONGEST):
            raise wrong(f"{self.name} has no possible number '{key}'")
        return int(text)

    def octets(self, key: str) -> bytes:
        """The bytes of this name, which the metadata keep as base64."""
        try:
            return a2b_base64(self.text(key).encode("ascii"), strict_mode=True)
        except (Error, UnicodeEncodeError):
            raise wrong(f"{self.name} has no base64 '{key}'") from None

    def names(self, key: str) -> tuple[str, ...]:
        """The list of strings of this name; empty where there is none."""
        value = self.values.get(key, [])
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise wrong(f"{self.name} has no list of strings '{key}'")
        return tuple(value)

    def indices(self, key: str) -> tuple[int, ...]:
        """The same as numbers of objects."""
        return tuple([index(name, self.name) for name in self.names(key)])

    def numbered(self, key: str) -> Iterator[tuple[int, Object]]:
        """The objects of the object of this name, by their numbers, which ascend."""
        found = self.object(key).values
        if len(found) > limits.OBJECTS:
            raise FormatError(f"LUKS2 metadata: more than {limits.OBJECTS} {key}", kind=ErrorKind.LIMIT)
        for number, name in sorted([(index(name, key), name) for name in found]):
            yield number, Object(found[name], f"{key[:-1]} {number}")


def index(name: str, where: str) -> int:
    """The number of an object. Raises FormatError where it is none that there can be."""
    if not (name.isascii() and name.isdigit() and len(name) <= 2 and int(name) < limits.OBJECTS):
        raise wrong(f"{where} names an object '{name:.40}'")
    return int(name)
