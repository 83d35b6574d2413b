"""Another backing file, or none: what the header names changes, nothing else.

Source: docs/interop/qcow2.txt of QEMU, "Header".
"""

from __future__ import annotations

from instar_core.errors import ErrorKind, FormatError
from instar_qcow2 import layout, limits
from instar_qcow2.header import read_header
from instar_qcow2.rehead import rewriting
from instar_qcow2.shadow import KEPT
from instar_qcow2.snapshot_edit import refuse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from instar_core.source import Image
    from instar_core.types import Edit, Rebase

NO_ROOM = "No space left on device"
NO_ROOM_FOR_NAME = "No space left in the file header"


def rebase(image: Image, request: Rebase) -> Iterator[Edit]:
    """The header names the backing file and its format. Raises FormatError, in the words that qemu-img puts after
    "Could not change the backing file to 'NAME': "."""
    header = read_header(image.main)
    refuse(header)
    backing = request.backing or {}
    name = stored(backing.get("name"))
    format = stored(backing.get("format")) if name else b""
    if name and header.autoclear_features & layout.AUTOCLEAR_DATA_FILE_RAW:
        raise FormatError("Invalid argument", kind=ErrorKind.UNSUPPORTED)
    if len(format) > limits.BACKING_FORMAT:
        raise FormatError("Invalid argument", kind=ErrorKind.LIMIT)
    try:
        head = rewriting(
            image.main,
            header,
            fields={"autoclear_features": header.autoclear_features & KEPT},
            extensions={layout.EXT_BACKING_FORMAT: format or None},
            backing=name,
        )
    except FormatError as error:
        if error.message == NO_ROOM:
            raise FormatError(NO_ROOM_FOR_NAME, kind=error.kind) from error
        raise
    yield from head.edits()


def stored(value: object) -> bytes:
    """A name as it is stored; empty where there is none."""
    if isinstance(value, str):
        return value.encode("utf-8", "surrogateescape")
    return bytes(value) if isinstance(value, (bytes, bytearray)) else b""
