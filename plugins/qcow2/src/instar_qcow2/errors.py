"""Errors about metadata that contradicts the specification, in qemu's words."""

from __future__ import annotations

from instar_core.errors import ErrorKind, FormatError


def hexadecimal(value: int) -> str:
    """A number as C's %#x prints it: 0 without the prefix."""
    return f"{value:#x}" if value else "0"


def corrupt(message: str, offset: int) -> FormatError:
    """The error for metadata that contradicts the specification; `offset` is where it stands in the file."""
    return FormatError(f"Image is corrupt: {message}", kind=ErrorKind.CORRUPT, offset=offset)
