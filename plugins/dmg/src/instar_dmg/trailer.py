"""The trailer of a UDIF file."""

from __future__ import annotations

from instar_core import limits as core
from instar_core.errors import ErrorKind, FormatError
from instar_dmg import layout, limits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from instar_core.source import Source


def read_trailer(source: Source) -> tuple[int, layout.Koly]:
    """Where the trailer lies, and the trailer: at the end of the file, or with up to 511 bytes behind it, as for qemu.

    Raises FormatError, in qemu's words where it has any, for what is none, is encrypted or divided over several files.
    """
    _encrypted(source)
    if source.size < layout.KOLY.size:
        raise FormatError("dmg file must be at least 512 bytes long", kind=ErrorKind.TRUNCATED)
    at = _find(source)
    koly = layout.Koly._make(source.unpack(layout.KOLY, at))
    if koly.segment_count > 1:
        raise FormatError(
            f"an image that is divided over {koly.segment_count} files cannot be read",
            kind=ErrorKind.UNSUPPORTED,
            offset=at + 60,
        )
    if koly.sector_count * layout.SECTOR > core.VIRTUAL_SIZE:
        raise FormatError("Invalid argument: too many sectors", kind=ErrorKind.LIMIT, offset=at + 492)
    if koly.data_fork_offset > at:
        raise FormatError("Invalid argument: the data fork begins behind the trailer", offset=at + 24)
    return at, koly


def _encrypted(source: Source) -> None:
    """Refuses the two containers that hdiutil encrypts with."""
    head = source.read(0, min(source.size, 8)) == layout.ENCRYPTED_HEAD
    if head or (source.size >= 8 and source.read(source.size - 8, 8) == layout.ENCRYPTED_TAIL):
        raise FormatError("encrypted Apple disk images are not supported", kind=ErrorKind.UNSUPPORTED, offset=0)


def _find(source: Source) -> int:
    at = source.size - layout.KOLY.size
    if source.read(at, 4) == layout.KOLY_MAGIC:
        return at
    start = max(0, source.size - limits.TRAILER_SEARCH)
    found = source.read(start, at + 3 - start).rfind(layout.KOLY_MAGIC)
    if found < 0:
        raise FormatError("Could not locate UDIF trailer in dmg file")
    return start + found
