"""Footers and headers with some fields changed: all other bytes stay as they are, the checksum is right.

Offsets are those of the specification's tables; lengths are bytes unless they are called sectors.
"""

from __future__ import annotations

from instar_core.types import Barrier, Put
from instar_vpc.geometry import BY_GEOMETRY, MAXIMUM, geometry, geometry_for
from instar_vpc.layout import (
    FOOTER,
    FOOTER_CHECKSUM,
    HEADER,
    HEADER_CHECKSUM,
    HEADER_SIZE,
    LOCATORS_AT,
    SECTOR,
    Header,
    sealed,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from instar_core.source import Source
    from instar_vpc.footers import Copy
    from instar_vpc.opening import Disk

FIELDS = 85
"""Bytes of a footer before its reserved ones."""
EXACT = b"qem2"
"""Creator whose disks have the size in the footer, whatever their geometry: qemu with an exact size."""


def footer(copy: Copy, **fields: Any) -> bytes:
    """The footer with these fields."""
    made = FOOTER.pack(*copy.footer._replace(**fields))[:FIELDS]
    return sealed(made + copy.data[FIELDS:], FOOTER_CHECKSUM)


def resized(copy: Copy, sectors: int) -> bytes:
    """The footer of the disk when it has exactly so many sectors.

    Where the creator's disks are as large as their geometry and no geometry has that size, the creator becomes one
    whose are not.
    """
    creator = copy.footer.creator_application
    made = MAXIMUM if creator == EXACT else geometry(sectors)
    if creator in BY_GEOMETRY:
        made = geometry_for(sectors)
        if made != MAXIMUM and made[0] * made[1] * made[2] != sectors:
            creator, made = EXACT, MAXIMUM
    cylinders, heads, track = made
    return footer(
        copy,
        creator_application=creator,
        current_size=sectors * SECTOR,
        cylinders=cylinders,
        heads=heads,
        sectors=track,
    )


def header(source: Source, place: int, locators: bytes | None = None, **fields: Any) -> bytes:
    """The dynamic disk header at `place` with these fields and, where given, these parent locators."""
    data = source.read(place, HEADER_SIZE)
    made = HEADER.pack(*Header._make(HEADER.unpack_from(data))._replace(**fields))
    rest = data[LOCATORS_AT:] if locators is None else locators.ljust(HEADER_SIZE - LOCATORS_AT, b"\0")
    return sealed(made[:60] + data[60:64] + made[64:] + rest, HEADER_CHECKSUM)


def front(disk: Disk) -> Iterator[Put | Barrier]:
    """The copy of the footer in front is sound: from here on it alone says what the image is, and the one at the end
    may be overwritten."""
    main, head, _ = disk.footers
    if head is None or head.data != main.data:
        yield Put(0, main.data)
        yield Barrier()


def committed(data: bytes, tail: int) -> Iterator[Put | Barrier]:
    """The footer is this one, in front and then at the end."""
    yield Put(0, data)
    yield Barrier()
    yield Put(tail, data)
    yield Barrier()
