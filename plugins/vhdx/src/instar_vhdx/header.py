"""The two headers of a VHDX file, of which the valid one with the higher sequence number counts ([MS-VHDX] 2.2.2)."""

from __future__ import annotations

from instar_core.errors import ErrorKind, FormatError
from instar_vhdx.crc import summed
from instar_vhdx.layout import FILE_MAGIC, HEADER, HEADER_MAGIC, HEADER_SIZE, HEADERS, MIB, NO_GUID, Header

TYPE_CHECKING = False
if TYPE_CHECKING:
    from instar_core.source import Source


def read_headers(source: Source) -> tuple[Header | None, Header | None]:
    """Both headers, None for one that is torn or of another version."""
    first, second = HEADERS
    return _valid(source, first), _valid(source, second)


def _valid(source: Source, place: int) -> Header | None:
    data = source.read(place, HEADER_SIZE, pad=True)
    header = Header._make((*HEADER.unpack_from(data), place))
    if header.magic != HEADER_MAGIC or header.version != 1 or header.checksum != summed(data):
        return None
    return header


def current(source: Source) -> Header:
    """The header that counts. Raises FormatError, in qemu's words where it has some, for a file that has none."""
    if source.read(0, len(FILE_MAGIC), pad=True) != FILE_MAGIC:
        raise FormatError("Image not in VHDX format", offset=0)
    first, second = read_headers(source)
    if first is not None and second is not None and first.sequence == second.sequence:
        alike = first._replace(checksum=0, place=0) == second._replace(checksum=0, place=0)
        chosen = first if alike else None
    elif first is None or second is None:
        chosen = first or second
    else:
        chosen = first if first.sequence > second.sequence else second
    if chosen is None:
        raise FormatError("No valid VHDX header found", kind=ErrorKind.CORRUPT, offset=HEADERS[0])
    if chosen.log_version:
        raise FormatError(f"a log of version {chosen.log_version} is not known", kind=ErrorKind.UNSUPPORTED)
    if chosen.log_guid != NO_GUID and not _placed(chosen):
        raise FormatError(
            f"the log, {chosen.log_length} bytes at {chosen.log_offset}, has no possible place", kind=ErrorKind.CORRUPT
        )
    return chosen


def _placed(header: Header) -> bool:
    length, offset = header.log_length, header.log_offset
    return not length % MIB and not offset % MIB and length > 0 and offset >= MIB
