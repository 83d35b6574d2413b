"""What a VHD image says of itself."""

from __future__ import annotations

from instar_core.types import ImageInfo, Reference, Role
from instar_vpc.geometry import geometry_sectors
from instar_vpc.layout import EPOCH, SECTOR, DiskType, identity
from instar_vpc.locators import parent_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from instar_core.source import Source
    from instar_vpc.opening import Disk

TYPES = {DiskType.FIXED: "fixed", DiskType.DYNAMIC: "dynamic", DiskType.DIFFERENCING: "differencing"}


def describe(source: Source, disk: Disk) -> ImageInfo:
    """The image's facts. Its identity is the footer's unique identifier, its parent's the one in the header."""
    footer = disk.footer
    parents = _parents(source, disk)
    kind = TYPES.get(footer.disk_type)
    blocked = ""
    if kind is None:
        blocked = f"disk type {footer.disk_type} is none of fixed, dynamic and differencing"
    elif disk.differencing and not parents:
        blocked = "the image is a differencing disk, but does not name its parent"
    extra: dict[str, Any] = {
        "subformat": kind or str(footer.disk_type),
        "creator-application": _text(footer.creator_application),
        "creator-version": f"{footer.creator_version >> 16}.{footer.creator_version & 0xFFFF}",
        "creator-host-os": _text(footer.creator_host_os),
        "current-size": footer.current_size,
        "geometry": f"{footer.cylinders}/{footer.heads}/{footer.sectors}",
        "time-stamp": footer.time_stamp + EPOCH,
        "saved-state": bool(footer.saved_state),
        "force-size": geometry_sectors(footer) * SECTOR != disk.size,
    }
    if identity(footer.unique_id):
        extra["identity"] = identity(footer.unique_id)
    return ImageInfo(
        format="vpc",
        virtual_size=disk.size,
        cluster_size=disk.header.block_size if disk.header else 0,
        references=parents,
        partial=disk.header is None,
        blocked=blocked,
        extra=extra,
    )


def _parents(source: Source, disk: Disk) -> tuple[Reference, ...]:
    header = disk.header
    if header is None or not disk.differencing:
        return ()
    name = parent_name(source, disk.footer.data_offset, header)
    if not name:
        return ()
    own = identity(header.parent_unique_id)
    details: dict[str, Any] = {"time-stamp": header.parent_time_stamp + EPOCH}
    if own:
        details["identity"] = own
    return (Reference(Role.BACKING, name, "vpc", details),)


def _text(code: bytes) -> str:
    """A code of four letters as text."""
    return code.decode("ascii", "replace").rstrip(" \0")
