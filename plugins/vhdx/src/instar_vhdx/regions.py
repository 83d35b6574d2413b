"""The region table, which says where the block allocation table and the metadata lie ([MS-VHDX] 2.2.3)."""

from __future__ import annotations

from instar_core.errors import ErrorKind, FormatError
from instar_vhdx import limits
from instar_vhdx.crc import summed
from instar_vhdx.layout import (
    BAT_REGION,
    METADATA_REGION,
    MIB,
    REGION_ENTRY,
    REGION_HEAD,
    REGION_MAGIC,
    REGION_TABLE_SIZE,
    REGION_TABLES,
    Header,
    Region,
    guid_text,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from instar_core.source import Source


def valid_table(source: Source, place: int) -> bytes | None:
    """The bytes of the region table at `place`; None if it is damaged."""
    data = source.read(place, REGION_TABLE_SIZE, pad=True)
    magic, checksum, _, _ = REGION_HEAD.unpack_from(data)
    return data if magic == REGION_MAGIC and checksum == summed(data) else None


def read_regions(source: Source, header: Header) -> tuple[Region, ...]:
    """The regions, in the table's order. Raises FormatError for tables that are damaged, or that no one can use."""
    for place in REGION_TABLES:
        data = valid_table(source, place)
        if data is not None:
            return _regions(data, header)
    raise FormatError("No valid VHDX region table found", kind=ErrorKind.CORRUPT, offset=REGION_TABLES[0])


def _regions(data: bytes, header: Header) -> tuple[Region, ...]:
    _, _, count, _ = REGION_HEAD.unpack_from(data)
    if count > limits.ENTRIES:
        raise FormatError(f"a region table of {count} entries is too long", kind=ErrorKind.LIMIT)
    taken = [(header.log_offset, header.log_offset + header.log_length)] if header.log_length else []
    found: list[Region] = []
    for number in range(count):
        guid, offset, length, required = REGION_ENTRY.unpack_from(data, REGION_HEAD.size + number * REGION_ENTRY.size)
        region = Region(guid, offset, length, bool(required & 1))
        for start, end in reversed(taken):
            if offset < end and start < region.end:
                raise FormatError(
                    f"VHDX region {offset}-{region.end} overlaps with region {start}-{end}", kind=ErrorKind.CORRUPT
                )
        taken.append((offset, region.end))
        if guid in (BAT_REGION, METADATA_REGION):
            _usable(region, found)
        elif region.required:
            raise FormatError(f"the required region {guid_text(guid)} is not known", kind=ErrorKind.UNSUPPORTED)
        found.append(region)
    return tuple(found)


def _usable(region: Region, found: list[Region]) -> None:
    if any(other.guid == region.guid for other in found):
        raise FormatError(f"the region {guid_text(region.guid)} is there twice", kind=ErrorKind.CORRUPT)
    if region.offset < MIB or region.offset % MIB or not region.length:
        raise FormatError(
            f"the region {guid_text(region.guid)}, {region.length} bytes at {region.offset}, has no possible place",
            kind=ErrorKind.CORRUPT,
        )


def named(regions: tuple[Region, ...], guid: bytes, what: str) -> Region:
    """The region with this GUID. Raises FormatError where it is missing."""
    for region in regions:
        if region.guid == guid:
            return region
    raise FormatError(f"there is no {what}", kind=ErrorKind.CORRUPT)
