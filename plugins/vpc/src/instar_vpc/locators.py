"""How a differencing disk names its parent: parent locators, and one name in the header.

Specification, "Dynamic Disk Header Format"; the platform codes are those of its table.
"""

from __future__ import annotations

from codecs import utf_16_be_decode, utf_16_le_decode

from instar_core.errors import ErrorKind, FormatError
from instar_vpc import limits
from instar_vpc.layout import LOCATOR, LOCATORS, LOCATORS_AT, Locator

TYPE_CHECKING = False
if TYPE_CHECKING:
    from instar_core.source import Source
    from instar_vpc.layout import Header

RELATIVE = b"W2ru"
"""UTF-16, little-endian, of a path that counts from the image's own folder."""
ABSOLUTE = b"W2ku"
URL = b"MacX"
"""A file URL."""

PREFIX = b"file://"


def parent_name(source: Source, place: int, header: Header) -> bytes:
    """The parent's name, with slashes; empty where the image, whose header is at `place`, has none that can be read.

    The first of these that there is: a path relative to the image, a URL, an absolute path, the name in the header.
    Raises FormatError (LIMIT, TRUNCATED) for a locator that is too long or lies outside the file.
    """
    found: dict[bytes, bytes] = {}
    for locator in locators(source, place):
        code, length = locator.platform_code, locator.platform_data_length
        if code not in (RELATIVE, ABSOLUTE, URL) or code in found:
            continue
        if length > limits.LOCATOR:
            raise FormatError(
                f"a parent locator of {length} bytes is too long", kind=ErrorKind.LIMIT, offset=place + LOCATORS_AT
            )
        data = source.read(locator.platform_data_offset, length)
        found[code] = _url(data) if code == URL else _path(utf_16_le_decode(data, "replace", True)[0])
    own = _path(utf_16_be_decode(header.parent_unicode_name, "replace", True)[0])
    return found.get(RELATIVE) or found.get(URL) or found.get(ABSOLUTE) or own


def locators(source: Source, place: int) -> list[Locator]:
    """The parent locators of the header at `place` that are in use."""
    at = place + LOCATORS_AT
    made = [Locator._make(source.unpack(LOCATOR, at + number * LOCATOR.size)) for number in range(LOCATORS)]
    return [locator for locator in made if any(locator.platform_code)]


def _path(text: str) -> bytes:
    """A Windows path as one of ours: slashes, without what says that it begins in the same folder."""
    text = text.partition("\0")[0].replace("\\", "/")
    while text.startswith("./"):
        text = text[2:].lstrip("/")
    return text.encode("utf-8", "replace")


def _url(data: bytes) -> bytes:
    """The path of a file URL; empty for another URL."""
    data = data.partition(b"\0")[0]
    if not data.startswith(PREFIX):
        return b""
    head, *rest = data[len(PREFIX) :].split(b"%")
    made = [head]
    for part in rest:
        digits = part[:2].decode("latin-1")
        known = len(digits) == 2 and all(digit in "0123456789abcdefABCDEF" for digit in digits)
        made.append(bytes([int(digits, 16)]) + part[2:] if known else b"%" + part)
    path = b"".join(made)
    while path.startswith(b"./"):
        path = path[2:].lstrip(b"/")
    return path
