"""Block tables in the property list of an image.

The list is parsed as it comes, by expat, and only what lies at resource-fork / blkx / Data is kept. A document with a
document type of its own, or entities, is refused; whatever encoding it claims, it is read as UTF-8.
"""

from __future__ import annotations

from binascii import Error as Base64Error
from binascii import a2b_base64
from xml.parsers import expat

from instar_core.errors import ErrorKind, FormatError
from instar_dmg import limits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from instar_core.source import Source

PATH = [("dict", "resource-fork"), ("dict", "blkx"), ("array", "")]
"""Elements below plist in which the dictionaries of the block tables stand, with the keys that lead there."""

TABLE = len(PATH) + 1
"""Depth below plist at which such a dictionary is itself."""


def block_tables(source: Source, offset: int, length: int) -> list[tuple[str, bytes]]:
    """(name, block table) of each `blkx` resource, in the order of the list.

    Raises FormatError (CORRUPT) for what is no property list, (LIMIT) for more than limits allow.
    """
    if length > limits.PLIST:
        raise FormatError(f"a property list of {length} bytes is too long", kind=ErrorKind.LIMIT, offset=offset)
    parser = expat.ParserCreate("utf-8")
    found = _Found()
    parser.buffer_text = True
    parser.StartDoctypeDeclHandler = _doctype
    parser.EntityDeclHandler = _entity
    parser.StartElementHandler = found.start
    parser.EndElementHandler = found.end
    parser.CharacterDataHandler = found.text
    try:
        for at in range(0, length, limits.PLIST_PIECE):
            piece = source.read(offset + at, min(limits.PLIST_PIECE, length - at))
            # Some writers end the list with zero bytes.
            last = at + len(piece) == length
            parser.Parse(piece.rstrip(b"\0") if last else piece, last)
    except expat.ExpatError as error:
        raise FormatError(
            f"the property list cannot be parsed: {error}", kind=ErrorKind.CORRUPT, offset=offset
        ) from error
    return found.tables


def _doctype(name: str, system: str | None, public: str | None, internal: bool) -> None:
    if internal:
        raise FormatError("the property list declares a document type of its own", kind=ErrorKind.REFUSED)


def _entity(*declaration: object) -> None:
    raise FormatError("the property list declares entities", kind=ErrorKind.REFUSED)


class _Found:
    """What has been found so far. `_open` are the open elements below plist, each with the key read last in it."""

    __slots__ = ("_data", "_name", "_open", "_parts", "tables")

    def __init__(self) -> None:
        self._open: list[tuple[str, str]] = []
        self._parts: list[str] = []
        self._name = ""
        self._data: bytes | None = None
        self.tables: list[tuple[str, bytes]] = []

    def start(self, element: str, attributes: object) -> None:
        """An element begins."""
        del attributes
        if not self._open and element == "plist":
            return
        if len(self._open) >= limits.DEPTH:
            raise FormatError("the property list is nested too deeply", kind=ErrorKind.LIMIT)
        self._open.append((element, ""))
        self._parts = []

    def text(self, characters: str) -> None:
        """Text inside the innermost element; kept where it may be wanted."""
        if self._open and (self._wanted() or self._open[-1][0] == "key"):
            self._parts.append(characters)

    def end(self, element: str) -> None:
        """An element ends: a key says what follows it, a value in a table's dictionary is taken down."""
        if not self._open:
            return
        text, self._parts = "".join(self._parts), []
        wanted = self._wanted()
        self._open.pop()
        if element == "key" and self._open:
            self._open[-1] = (self._open[-1][0], text[: limits.NAME])
        elif wanted:
            self._value(element, self._open[-1][1], text)
        elif element == "dict" and self._open == PATH:
            self._table()

    def _wanted(self) -> bool:
        """Whether the innermost element stands in the dictionary of a table."""
        return len(self._open) == TABLE + 1 and self._open[: len(PATH)] == PATH and self._open[len(PATH)][0] == "dict"

    def _value(self, element: str, key: str, text: str) -> None:
        if key == "Data" and element == "data":
            try:
                self._data = a2b_base64(text)
            except (Base64Error, ValueError) as error:
                raise FormatError(f"a block table cannot be decoded: {error}", kind=ErrorKind.CORRUPT) from error
        elif element == "string" and (key == "CFName" or (key == "Name" and not self._name)):
            self._name = text[: limits.NAME]

    def _table(self) -> None:
        if self._data is not None:
            if len(self.tables) >= limits.TABLES:
                raise FormatError(f"more than {limits.TABLES} block tables", kind=ErrorKind.LIMIT)
            self.tables.append((self._name, self._data))
        self._name, self._data = "", None
