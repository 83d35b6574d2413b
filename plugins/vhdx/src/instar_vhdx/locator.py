"""The parent locator of a differencing image: by which names its parent may be found ([MS-VHDX] 2.6.2.6)."""

from __future__ import annotations

from instar_core.errors import ErrorKind, FormatError
from instar_vhdx import limits
from instar_vhdx.layout import LOCATOR_ENTRY, LOCATOR_HEAD, LOCATOR_TYPE, guid_text
from instar_vhdx.utf16 import decode

PATHS = ("relative_path", "volume_path", "absolute_win32_path")
"""Keys that name the parent, in the order in which the specification has them tried."""

HEX = frozenset("0123456789abcdef")


def read_locator(data: bytes, place: int) -> dict[str, str]:
    """Keys and values. `place` is where the item lies. Raises FormatError for what is not inside it, or no text."""
    if len(data) < LOCATOR_HEAD.size:
        raise FormatError("the parent locator is cut short", kind=ErrorKind.CORRUPT, offset=place)
    kind, _, count = LOCATOR_HEAD.unpack_from(data)
    if kind != LOCATOR_TYPE:
        raise FormatError(f"a parent locator of type {guid_text(kind)} is not known", kind=ErrorKind.UNSUPPORTED)
    if count > limits.LOCATOR_ENTRIES:
        raise FormatError(f"a parent locator of {count} entries is too long", kind=ErrorKind.LIMIT, offset=place)
    if LOCATOR_HEAD.size + count * LOCATOR_ENTRY.size > len(data):
        raise FormatError("the parent locator is cut short", kind=ErrorKind.CORRUPT, offset=place)
    found: dict[str, str] = {}
    for number in range(count):
        key_at, value_at, key_length, value_length = LOCATOR_ENTRY.unpack_from(
            data, LOCATOR_HEAD.size + number * LOCATOR_ENTRY.size
        )
        key = _text(data, key_at, key_length, place)
        if key in found:
            raise FormatError(f"the parent locator has '{key}' twice", kind=ErrorKind.CORRUPT, offset=place)
        found[key] = _text(data, value_at, value_length, place)
    return found


def _text(data: bytes, offset: int, length: int, place: int) -> str:
    if offset + length > len(data):
        raise FormatError("a text of the parent locator is not inside it", kind=ErrorKind.CORRUPT, offset=place)
    try:
        return decode(data[offset : offset + length])
    except UnicodeDecodeError:
        raise FormatError("a text of the parent locator is no UTF-16", kind=ErrorKind.CORRUPT, offset=place) from None


def identity(text: str) -> str | None:
    """The GUID that a linkage holds, as guid_text gives it; None where it is none."""
    plain = text.strip().strip("{}").lower()
    shape = [len(part) for part in plain.split("-")]
    return plain if shape == [8, 4, 4, 4, 12] and HEX.issuperset(plain.replace("-", "")) else None


def parent_name(locator: dict[str, str]) -> bytes:
    """The parent's file name: the relative path, its backslashes turned; else an absolute one as it is, unless it is
    no more than a path without a drive. Raises FormatError where none is there.
    """
    for key in PATHS:
        path = locator.get(key)
        if path:
            if key == "relative_path" or not (path[1:2] == ":" or path.startswith("\\\\")):
                path = path.replace("\\", "/")
            return path.encode("utf-8", "surrogatepass")
    raise FormatError("the parent locator names no path", kind=ErrorKind.CORRUPT)
