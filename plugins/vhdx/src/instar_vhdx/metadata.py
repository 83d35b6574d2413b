"""The metadata of a VHDX file: what the virtual disk is like ([MS-VHDX] 2.6)."""

from __future__ import annotations

from instar_core.errors import ErrorKind, FormatError
from instar_vhdx import limits
from instar_vhdx.layout import (
    FILE_PARAMETERS,
    FILE_PARAMETERS_ITEM,
    FIXED,
    HAS_PARENT,
    IS_REQUIRED,
    LOGICAL_SECTOR_ITEM,
    METADATA_ENTRY,
    METADATA_HEAD,
    METADATA_MAGIC,
    METADATA_TABLE,
    PARENT_LOCATOR_ITEM,
    PHYSICAL_SECTOR_ITEM,
    VIRTUAL_DISK_ID_ITEM,
    VIRTUAL_DISK_SIZE_ITEM,
    Region,
    guid_text,
)
from instar_vhdx.locator import read_locator

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NamedTuple

    from instar_core.source import Source
else:
    from instar_core.record import NamedTuple

SECTORS = (512, 4096)
LENGTHS = {
    FILE_PARAMETERS_ITEM: 8,
    VIRTUAL_DISK_SIZE_ITEM: 8,
    VIRTUAL_DISK_ID_ITEM: 16,
    LOGICAL_SECTOR_ITEM: 4,
    PHYSICAL_SECTOR_ITEM: 4,
}
"""Items that every file has, and their lengths."""


class Metadata(NamedTuple):
    """The virtual disk's properties, in bytes. `locator` is empty for an image without a parent."""

    size: int
    block: int
    fixed: bool
    parent: bool
    disk_id: bytes
    logical: int
    physical: int
    locator: dict[str, str]


def read_metadata(source: Source, region: Region) -> Metadata:
    """What the region says. Raises FormatError for items that are missing, not understood, or out of bounds."""
    found = items(source, region)
    values: dict[bytes, bytes] = {}
    for item, length in LENGTHS.items():
        if item not in found:
            raise FormatError(f"the metadata item {guid_text(item)} is missing", kind=ErrorKind.CORRUPT)
        place, stored = found[item]
        if stored < length:
            raise FormatError(
                f"the metadata item {guid_text(item)} has {stored} bytes", kind=ErrorKind.CORRUPT, offset=place
            )
        values[item] = source.read(place, length)
    block, flags = FILE_PARAMETERS.unpack(values[FILE_PARAMETERS_ITEM])
    parent = bool(flags & HAS_PARENT)
    locator: dict[str, str] = {}
    if parent:
        if PARENT_LOCATOR_ITEM not in found:
            raise FormatError("the image has a parent, but does not name it", kind=ErrorKind.CORRUPT)
        place, stored = found[PARENT_LOCATOR_ITEM]
        locator = read_locator(source.read(place, stored), place)
    made = Metadata(
        int.from_bytes(values[VIRTUAL_DISK_SIZE_ITEM], "little"),
        block,
        bool(flags & FIXED),
        parent,
        values[VIRTUAL_DISK_ID_ITEM],
        int.from_bytes(values[LOGICAL_SECTOR_ITEM], "little"),
        int.from_bytes(values[PHYSICAL_SECTOR_ITEM], "little"),
        locator,
    )
    _bounded(made)
    return made


def items(source: Source, region: Region) -> dict[bytes, tuple[int, int]]:
    """Where each item that is understood lies, and how long it is."""
    magic, _, count, _ = source.unpack(METADATA_HEAD, region.offset)
    if magic != METADATA_MAGIC:
        raise FormatError("there is no metadata table", kind=ErrorKind.CORRUPT, offset=region.offset)
    if count > limits.ENTRIES:
        raise FormatError(f"a metadata table of {count} entries is too long", kind=ErrorKind.LIMIT)
    entries = source.read(region.offset + METADATA_HEAD.size, count * METADATA_ENTRY.size)
    found: dict[bytes, tuple[int, int]] = {}
    for item, offset, length, flags, _ in METADATA_ENTRY.iter_unpack(entries):
        if item not in LENGTHS and item != PARENT_LOCATOR_ITEM:
            if flags & IS_REQUIRED:
                raise FormatError(
                    f"the required metadata item {guid_text(item)} is not known", kind=ErrorKind.UNSUPPORTED
                )
            continue
        if item in found:
            raise FormatError(f"the metadata item {guid_text(item)} is there twice", kind=ErrorKind.CORRUPT)
        if offset < METADATA_TABLE or length > limits.ITEM or offset + length > region.length:
            raise FormatError(
                f"the metadata item {guid_text(item)}, {length} bytes at {offset}, is not inside its region",
                kind=ErrorKind.CORRUPT,
                offset=region.offset + offset,
            )
        found[item] = region.offset + offset, length
    return found


def _bounded(made: Metadata) -> None:
    """Raises FormatError for values that the specification does not allow."""
    if made.logical not in SECTORS:
        raise FormatError(f"logical sectors of {made.logical} bytes are not possible", kind=ErrorKind.UNSUPPORTED)
    if not limits.BLOCK_SMALLEST <= made.block <= limits.BLOCK_LARGEST or made.block & made.block - 1:
        raise FormatError(f"blocks of {made.block} bytes are not possible", kind=ErrorKind.INVALID)
    if made.size > limits.VIRTUAL_SIZE:
        raise FormatError(f"a disk of {made.size} bytes is larger than 64 TiB", kind=ErrorKind.LIMIT)
    if made.size % made.logical:
        raise FormatError(
            f"a disk of {made.size} bytes is not made of sectors of {made.logical}", kind=ErrorKind.INVALID
        )
