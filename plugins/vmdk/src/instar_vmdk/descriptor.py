"""The text descriptor: reading it. Sizes in the text are sectors.

Virtual Disk Format 5.0, "The Descriptor File". Where a key occurs twice the first counts, as for qemu.
"""

from __future__ import annotations

from instar_core import limits as core_limits
from instar_core.errors import ErrorKind, FormatError
from instar_vmdk.layout import NO_PARENT, SECTOR

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NamedTuple
else:
    from instar_core.record import NamedTuple

CREATE_TYPES = frozenset(
    {
        "monolithicFlat",
        "vmfs",
        "vmfsSparse",
        "seSparse",
        "twoGbMaxExtentSparse",
        "twoGbMaxExtentFlat",
        "2GbMaxExtentSparse",
        "2GbMaxExtentFlat",
        "vmfsThin",
        "vmfsPreallocated",
        "vmfsEagerZeroedThick",
        "custom",
    }
)
"""Kinds of image that consist of files named in a text. Those that name devices are left out on purpose."""

ACCESS = (b"RW", b"RDONLY", b"NOACCESS")
FLAT = ("FLAT", "VMFS")
SPARSE = ("SPARSE", "VMFSSPARSE", "SESPARSE")


class ExtentLine(NamedTuple):
    """One line that describes an extent: `sectors` long, in the file `name` from sector `offset` on."""

    access: str
    sectors: int
    type: str
    name: bytes = b""
    offset: int = 0


class Descriptor(NamedTuple):
    """What a descriptor says. `lines` are its extent lines, not yet looked into."""

    cid: int
    parent_cid: int
    create_type: str | None
    hint: bytes
    """Name of the parent image; empty for none."""
    lines: tuple[bytes, ...]
    repeated: int
    """How many of `lines` stand for a blank line before an extent line."""
    database: dict[str, str]
    """The ddb entries of interest."""


WANTED = {b"CID", b"parentCID", b"createType", b"parentFileNameHint", b"ddb.adapterType", b"ddb.virtualHWVersion"}


def parse(text: bytes) -> Descriptor:
    """The descriptor that `text` holds, up to its first NUL.

    Raises FormatError (LIMIT) for too long a name of the parent and for too many extents.
    """
    end = text.find(b"\0")
    if end >= 0:
        text = text[:end]
    found: dict[bytes, bytes] = {}
    lines: list[bytes] = []
    blank = repeated = 0
    for raw in text.split(b"\n"):
        line = raw.strip()
        if not line:
            blank += 1
            continue
        before, blank = blank, 0
        if line.startswith(ACCESS) and line.split(None, 1)[0] in ACCESS:
            # For qemu a blank line and the extent line after it are an extent each. A disk that is larger for qemu
            # than for us would be worse than one that is larger than its author meant.
            again = before if line.startswith(b"RW") and b'"' in line else 0
            lines.extend([line] * (1 + min(again, core_limits.REFERENCES)))
            repeated += again
            if len(lines) > core_limits.REFERENCES:
                raise FormatError(f"more than {core_limits.REFERENCES} extents", kind=ErrorKind.LIMIT)
            continue
        key, equals, value = line.partition(b"=")
        key = key.rstrip()
        if equals and key in WANTED:
            found.setdefault(key, _unquoted(value.strip()))
    hint = found.get(b"parentFileNameHint", b"")
    if len(hint) > core_limits.NAME:
        raise FormatError("the name of the parent image is too long", kind=ErrorKind.LIMIT)
    kind = found.get(b"createType")
    return Descriptor(
        cid=_hexadecimal(found.get(b"CID", b"0")),
        parent_cid=_hexadecimal(found.get(b"parentCID", b"%x" % NO_PARENT)),
        create_type=None if kind is None else printable(kind),
        hint=hint,
        lines=tuple(lines),
        repeated=repeated,
        database={key.decode()[4:]: printable(value) for key, value in found.items() if key.startswith(b"ddb.")},
    )


def extent_lines(descriptor: Descriptor) -> tuple[ExtentLine, ...]:
    """The extents of a descriptor that is an image of its own.

    Raises FormatError: no createType, one that cannot be read, a line that makes no sense, no line, too many.
    """
    kind = descriptor.create_type
    if kind is None:
        raise FormatError("invalid VMDK image descriptor")
    if kind not in CREATE_TYPES:
        raise FormatError(f"Unsupported image type '{kind}'", kind=ErrorKind.UNSUPPORTED)
    made = []
    total = 0
    for line in descriptor.lines:
        extent = _extent(line)
        if extent is None:
            raise FormatError(f"Invalid extent line: {printable(line)}")
        total += extent.sectors * SECTOR
        if total > core_limits.VIRTUAL_SIZE:
            raise FormatError("Image size is too large", kind=ErrorKind.LIMIT)
        made.append(extent)
    if not made:
        raise FormatError("the descriptor names no extent")
    return tuple(made)


def printable(text: bytes) -> str:
    """Text for people and JSON: what is not UTF-8 is replaced."""
    return text.decode("utf-8", "replace")


def _extent(line: bytes) -> ExtentLine | None:
    words = line.split(None, 3)
    if len(words) < 3:
        return None
    sectors = _decimal(words[1])
    kind = words[2].decode("ascii", "replace")
    access = words[0].decode("ascii")
    if not sectors:
        return None
    if kind == "ZERO":
        return ExtentLine(access, sectors, kind)
    if len(words) < 4 or not words[3].startswith(b'"') or kind not in FLAT + SPARSE:
        return None
    name, quote, rest = words[3][1:].partition(b'"')
    if not quote or not name or len(name) > core_limits.NAME:
        return None
    tail = rest.split()
    if kind in SPARSE or (kind == "VMFS" and not tail):
        return None if tail else ExtentLine(access, sectors, kind, name)
    offset = _decimal(tail[0]) if tail else None
    return None if offset is None else ExtentLine(access, sectors, kind, name, offset)


def _unquoted(value: bytes) -> bytes:
    return value[1:].partition(b'"')[0] if value.startswith(b'"') else value


def _decimal(word: bytes) -> int | None:
    """A number of sectors that can be addressed in bytes, or None."""
    if len(word) > 20 or not word.isdigit():
        return None
    number = int(word)
    return number if number * SECTOR <= core_limits.VIRTUAL_SIZE else None


def _hexadecimal(word: bytes) -> int:
    """A content identifier as sscanf would read it: leading digits, 0 for none."""
    number = 0
    for letter in word.removeprefix(b"0x")[:8]:
        if chr(letter) not in "0123456789abcdefABCDEF":
            break
        number = number * 16 + int(chr(letter), 16)
    return number
