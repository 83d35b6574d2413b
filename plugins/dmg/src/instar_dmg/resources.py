"""Block tables in the resource fork of an image, as older ones have them.

Inside Macintosh: More Macintosh Toolbox, "Resource File Format".
"""

from __future__ import annotations

from struct import Struct, error

from instar_core.errors import ErrorKind, FormatError
from instar_dmg import limits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from instar_core.source import Source

HEADER = Struct(">IIII")
"""Offset of the data and of the map, length of both."""
MAP = Struct(">24xHH")
"""Offset of the type list and of the name list, both from the map."""
TYPE = Struct(">4sHH")
"""Type, resources of it less 1, offset of their list from the type list."""
REFERENCE = Struct(">hHII")
"""ID, offset of the name from the name list, attributes (8 bits) and offset of the data (24 bits), a handle."""
COUNT = Struct(">H")
LENGTH = Struct(">I")

BLKX = b"blkx"
NO_NAME = 0xFFFF
OFFSET = (1 << 24) - 1


def block_tables(source: Source, offset: int, length: int) -> list[tuple[str, bytes]]:
    """(name, block table) of each `blkx` resource, in the order of the map.

    Raises FormatError (CORRUPT) for what is no resource fork, (LIMIT) for more than limits allow.
    """
    if length > limits.RSRC:
        raise FormatError(f"a resource fork of {length} bytes is too long", kind=ErrorKind.LIMIT, offset=offset)
    fork = source.read(offset, length)
    try:
        return _tables(fork)
    except error as short:
        raise FormatError("the resource fork is cut short", kind=ErrorKind.CORRUPT, offset=offset) from short


def _tables(fork: bytes) -> list[tuple[str, bytes]]:
    data, index, _, _ = HEADER.unpack_from(fork, 0)
    types, names = MAP.unpack_from(fork, index)
    types += index
    found: list[tuple[str, bytes]] = []
    for number in range(_count(fork, types)):
        kind, count, references = TYPE.unpack_from(fork, types + COUNT.size + number * TYPE.size)
        if kind != BLKX:
            continue
        if count + 1 > limits.TABLES - len(found):
            raise FormatError(f"more than {limits.TABLES} block tables", kind=ErrorKind.LIMIT)
        for each in range(count + 1):
            place = types + references + each * REFERENCE.size
            _, name, where, _ = REFERENCE.unpack_from(fork, place)
            start = data + (where & OFFSET)
            (size,) = LENGTH.unpack_from(fork, start)
            content = fork[start + LENGTH.size : start + LENGTH.size + size]
            if len(content) < size:
                raise FormatError("a block table does not lie inside the resource fork", kind=ErrorKind.CORRUPT)
            found.append((_name(fork, index + names, name), content))
    return found


def _count(fork: bytes, types: int) -> int:
    """Types in the list; 65535 stands for none."""
    count: int = COUNT.unpack_from(fork, types)[0]
    return count + 1 & 0xFFFF


def _name(fork: bytes, names: int, offset: int) -> str:
    """A name, of which only ASCII is kept: the codec of Mac OS Roman cannot be imported behind the walls."""
    if offset == NO_NAME:
        return ""
    at = names + offset
    length = fork[at] if at < len(fork) else 0
    return fork[at + 1 : at + 1 + length].decode("ascii", "replace")
