"""Disk geometry: which size it stands for, and which geometry a size has. Sizes are bytes, or sectors where so called.

The way from a size to a geometry is that of the specification's appendix, "CHS Calculation".
"""

from __future__ import annotations

from instar_core.errors import FormatError
from instar_vpc.layout import SECTOR

TYPE_CHECKING = False
if TYPE_CHECKING:
    from instar_vpc.layout import Footer

MAXIMUM = (65535, 16, 255)
"""The largest geometry: it says only that the disk is at least so large."""
MAXIMUM_SECTORS = 65535 * 16 * 255
LARGE = 65535 * 16 * 63
"""From so many sectors on a track has 255 of them."""

BY_GEOMETRY = (b"vpc ", b"qemu")
"""Creators whose disks are as large as their geometry: Virtual PC, and qemu where no exact size was asked for."""

MODES = ("chs", "current_size")


def geometry_sectors(footer: Footer) -> int:
    """Sectors that the footer's geometry has."""
    return footer.cylinders * footer.heads * footer.sectors


def disk_size(footer: Footer, mode: str | None) -> int:
    """Bytes of the disk, as qemu decides: by creator, or as `mode` (one of MODES) says; never by the largest geometry.

    Raises FormatError for another mode.
    """
    if mode is not None and mode not in MODES:
        raise FormatError(f"Invalid size calculation mode: '{mode}'")
    sectors = geometry_sectors(footer)
    by_geometry = footer.creator_application in BY_GEOMETRY if mode is None else mode == "chs"
    if by_geometry and sectors != MAXIMUM_SECTORS:
        return sectors * SECTOR
    return footer.current_size // SECTOR * SECTOR


def geometry(sectors: int) -> tuple[int, int, int]:
    """Cylinders, heads and sectors of a track of a disk that has so many sectors: at most as many, often fewer."""
    sectors = min(sectors, MAXIMUM_SECTORS)
    heads, track = 16, 255
    if sectors < LARGE:
        track = 17
        heads = max(4, -(-(sectors // track) // 1024))
        if heads > 16 or sectors // track >= heads * 1024:
            heads, track = 16, 31
        if sectors // track >= heads * 1024:
            track = 63
    return sectors // track // heads, heads, track


def geometry_for(sectors: int) -> tuple[int, int, int]:
    """The smallest geometry of this kind that has at least so many sectors; MAXIMUM where none has."""
    if sectors >= MAXIMUM_SECTORS:
        return MAXIMUM
    want = sectors
    while True:
        made = geometry(want)
        have = made[0] * made[1] * made[2]
        if have >= sectors:
            return made
        want += 1
