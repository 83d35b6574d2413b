"""The text descriptor: writing it, as qemu-img does."""

from __future__ import annotations

from instar_core.errors import ErrorKind, FormatError
from instar_vmdk.layout import SECTOR
from instar_vmdk.limits import EMBEDDED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from instar_vmdk.choices import Choices

SECTORS_PER_TRACK = 63
IDE_HEADS = 16
SCSI_HEADS = 255


def descriptor_text(choices: Choices, extents: list[bytes]) -> bytes:
    """The descriptor of a new image, with a line per extent.

    Raises FormatError (USAGE) where a name holds what the text cannot (a quotation mark, a line end, NUL).
    """
    heads = IDE_HEADS if choices.adapter == "ide" else SCSI_HEADS
    cylinders = choices.size // (heads * SECTORS_PER_TRACK * SECTOR)
    hint = b'parentFileNameHint="%s"\n' % quotable(choices.backing) if choices.backing else b""
    head = (
        b"# Disk DescriptorFile\n"
        b"version=1\n"
        b"CID=%x\n"
        b"parentCID=%x\n"
        b'createType="%s"\n'
        b"%s"
        b"\n"
        b"# Extent description\n"
        b"%s"
        b"\n"
        b"# The Disk Data Base\n"
        b"#DDB\n"
        b"\n"
    ) % (choices.cid, choices.parent_cid, choices.subformat.encode(), hint, b"".join(extents))
    database = (
        ("virtualHWVersion", choices.hardware),
        ("geometry.cylinders", cylinders),
        ("geometry.heads", heads),
        ("geometry.sectors", SECTORS_PER_TRACK),
        ("adapterType", choices.adapter),
        ("toolsVersion", choices.tools),
    )
    return head + b"".join(b'ddb.%s = "%s"\n' % (key.encode(), quotable(_bytes(value))) for key, value in database)


def embedded(text: bytes) -> bytes:
    """`text` where a sparse file has room for it. Raises FormatError (USAGE) for one that is too long."""
    if len(text) > EMBEDDED * SECTOR:
        raise FormatError("the descriptor is too long to be embedded", kind=ErrorKind.USAGE)
    return text


def extent_line(kind: str, sectors: int, name: bytes, offset: int | None = None) -> bytes:
    """The line of one extent of `sectors` sectors in the file `name`."""
    tail = b"" if offset is None else b" %d" % offset
    return b'RW %d %s "%s"%s\n' % (sectors, kind.encode(), quotable(name), tail)


def quotable(text: bytes) -> bytes:
    """`text`, if it can stand between quotation marks. Raises FormatError (USAGE)."""
    if any(letter in text for letter in (b'"', b"\n", b"\r", b"\0")):
        raise FormatError(f"a VMDK descriptor cannot name {text!r}", kind=ErrorKind.USAGE)
    return text


def _bytes(value: object) -> bytes:
    return str(value).encode("utf-8", "surrogateescape")
