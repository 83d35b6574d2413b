"""Another parent, or none: a new parent locator beside the old one, and one write of the metadata table's entry that
says where it is ([MS-VHDX] 2.6.2.6)."""

from __future__ import annotations

from instar_core.errors import ErrorKind, FormatError
from instar_core.types import Barrier, Punch, Put
from instar_vhdx import limits
from instar_vhdx.bat import bitmap_entry, entries
from instar_vhdx.batputs import entry_puts
from instar_vhdx.begin import begun
from instar_vhdx.bitmap import runs
from instar_vhdx.choices import linkage_of, stored_name
from instar_vhdx.heads import locator
from instar_vhdx.layout import (
    BITMAP_PRESENT,
    FILE_PARAMETERS,
    FILE_PARAMETERS_ITEM,
    HAS_PARENT,
    METADATA_ENTRY,
    METADATA_HEAD,
    METADATA_REGION,
    METADATA_TABLE,
    MIB,
    OFFSET,
    PARENT_LOCATOR_ITEM,
    SECTOR,
    STATE,
    Payload,
)
from instar_vhdx.metadata import items
from instar_vhdx.opening import open_disk
from instar_vhdx.regions import named

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from instar_core.source import Image, Source
    from instar_core.types import Edit, Rebase
    from instar_vhdx.layout import Region
    from instar_vhdx.opening import Disk


def rebase_edits(image: Image, request: Rebase) -> Iterator[Edit]:
    """The image has this parent, or none: what it lacks are zeros then.

    Raises FormatError (UNSUPPORTED) where an image without a parent is to have one, or the metadata have no room left,
    (USAGE) for an impossible parent, and for one that was not looked at: the image stores its identifier.
    """
    disk = open_disk(image)
    region = named(disk.regions, METADATA_REGION, "metadata region")
    given = request.backing
    if not disk.metadata.parent:
        if given is None:
            return
        raise FormatError("Only a differencing image can have another parent", kind=ErrorKind.UNSUPPORTED)
    if given is None:
        yield from begun(image, disk, request.entropy, content=False)
        yield from _whole(disk)
        place, _ = items(disk.source, region)[FILE_PARAMETERS_ITEM]
        _, flags = FILE_PARAMETERS.unpack(disk.source.read(place, FILE_PARAMETERS.size))
        yield Put(place + 4, (flags & ~HAS_PARENT).to_bytes(4, "little"))
        yield Barrier()
        yield from _unnamed(disk.source, region)
        return
    name = stored_name(given.get("name") or b"", given.get("format"))
    data = locator(name, linkage_of(given.get("identity")))
    entry, place = _entry(disk.source, region), _room(disk.source, region, len(data))
    yield from begun(image, disk, request.entropy, content=False)
    yield Put(region.offset + place, data)
    yield Barrier()
    head = disk.source.read(entry, METADATA_ENTRY.size)
    item, _, _, flags, reserved = METADATA_ENTRY.unpack(head)
    yield Put(entry, METADATA_ENTRY.pack(item, place, len(data), flags, reserved))
    yield Barrier()


def _entry(source: Source, region: Region) -> int:
    """Where the metadata table has the entry of the parent locator; entries do not cross sectors."""
    _, _, count, _ = source.unpack(METADATA_HEAD, region.offset)
    for number in range(count):
        place = region.offset + METADATA_HEAD.size + number * METADATA_ENTRY.size
        if source.read(place, 16) == PARENT_LOCATOR_ITEM:
            return place
    raise FormatError("the image has a parent, but does not name it", kind=ErrorKind.CORRUPT)


def _unnamed(source: Source, region: Region) -> Iterator[Edit]:
    """The metadata table has no parent locator any more, where it is no longer than the sector that is written whole;
    in a longer one, which nobody makes, it stays, and nothing asks for it."""
    data = source.read(region.offset, SECTOR)
    magic, reserved, count, rest = METADATA_HEAD.unpack_from(data)
    size = METADATA_ENTRY.size
    if METADATA_HEAD.size + count * size > SECTOR:
        return
    entries = [data[at : at + size] for at in range(METADATA_HEAD.size, METADATA_HEAD.size + count * size, size)]
    kept = b"".join(entry for entry in entries if entry[:16] != PARENT_LOCATOR_ITEM)
    head = METADATA_HEAD.pack(magic, reserved, len(kept) // size, rest)
    yield Put(region.offset, (head + kept).ljust(SECTOR, b"\0"))
    yield Barrier()


def _room(source: Source, region: Region, length: int) -> int:
    """A place in the region, in whole sectors, that no item has. Raises FormatError (UNSUPPORTED) without one."""
    _, _, count, _ = source.unpack(METADATA_HEAD, region.offset)
    table = source.read(region.offset + METADATA_HEAD.size, min(count, limits.ENTRIES) * METADATA_ENTRY.size)
    taken = sorted((offset, offset + size) for _, offset, size, _, _ in METADATA_ENTRY.iter_unpack(table) if size)
    at = METADATA_TABLE
    for start, end in [*taken, (region.length, region.length)]:
        if at + length <= start:
            return at
        at = max(at, -(-end // SECTOR) * SECTOR)
    raise FormatError("the metadata have no room for the name of the parent", kind=ErrorKind.UNSUPPORTED)


def _whole(disk: Disk) -> Iterator[Edit]:
    """Blocks that are partly there are wholly there: what only the parent had is zeros."""
    changed: list[tuple[int, int]] = []
    sector, size = disk.metadata.logical, disk.metadata.block
    for block, count, entry, step in entries(disk, 0, disk.blocks):
        if entry & STATE != Payload.PARTIALLY_PRESENT:
            continue
        for number in range(block, block + count):
            place = (entry & OFFSET) + (number - block) * step
            bitmap = bitmap_entry(disk, number // disk.ratio)
            if bitmap & STATE != BITMAP_PRESENT or bitmap & OFFSET < MIB:
                raise FormatError(
                    f"VHDX block {number} is partially present, but its sector bitmap is not", kind=ErrorKind.CORRUPT
                )
            first = number % disk.ratio * (size // sector)
            data = disk.source.read((bitmap & OFFSET) + first // 8, -(-size // sector // 8))
            at = place
            for length, present in runs(data, 0, size // sector):
                if not present:
                    yield Punch(at, length * sector)
                at += length * sector
            changed.append((number, place | Payload.FULLY_PRESENT))
    yield Barrier()
    yield from entry_puts(disk, changed)
    yield Barrier()
