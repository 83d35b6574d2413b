"""What a VMDK image says of itself."""

from __future__ import annotations

from instar_core.errors import ErrorKind, FormatError
from instar_core.types import Coding, ImageInfo, Reference, Role
from instar_vmdk import limits
from instar_vmdk.descriptor import printable
from instar_vmdk.opening import Disk

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from instar_vmdk.layout import Part

HOSTED_TYPES = ("streamOptimized", "monolithicSparse")
SHOWN = 16
"""Lines of a descriptor that are shown where one is expected."""


def describe(disk: Disk) -> ImageInfo:
    """The image's facts; `details` and their order are qemu-img's.

    An extent's filename is its name as stored, empty where the extent is the image itself. The n-th of `details`'
    extents belongs to the n-th Reference of role EXTENT.
    """
    parts = [part for part in disk.parts if part.type != "ZERO"]
    shown = disk.descriptor
    uniform = len({(part.flat, _grain(part), _compressed(part)) for part in parts}) <= 1
    return ImageInfo(
        format="vmdk",
        virtual_size=disk.size,
        cluster_size=_grain(parts[0]) if parts and uniform else 0,
        references=_backing(disk) + _extents(parts),
        codings=codings(disk),
        dirty=False if uniform else None,
        blocked=_blocked(disk),
        details={
            "cid": shown.cid,
            "parent-cid": shown.parent_cid,
            "create-type": disk.create_type,
            "extents": [_extent(part) for part in parts],
        },
        extra={**shown.database, **_embedded(disk)},
    )


def _embedded(disk: Disk) -> dict[str, Any]:
    """What the text inside a sparse file says of its kind and extents: nothing here goes by it, but other tools do."""
    if disk.create_type not in HOSTED_TYPES or any(part.type for part in disk.parts):
        return {}
    shown = disk.descriptor
    lines = [printable(line) for line in shown.lines[:SHOWN]]
    return {"embedded-descriptor": {"create-type": shown.create_type or "", "extents": lines}}


def codings(disk: Disk) -> tuple[Coding, ...]:
    """One coding for each size of compressed grain, ascending. Raises FormatError for more sizes than can be told."""
    sizes = sorted({part.sparse.grain for part in disk.parts if part.sparse and part.sparse.compressed})
    if len(sizes) > limits.CODINGS:
        raise FormatError(f"{len(sizes)} sizes of compressed grains are too many", kind=ErrorKind.UNSUPPORTED)
    return tuple(Coding("zlib", size) for size in sizes)


def _backing(disk: Disk) -> tuple[Reference, ...]:
    shown = disk.descriptor
    if not shown.hint:
        return ()
    return (Reference(Role.BACKING, shown.hint, "vmdk", {"cid": shown.parent_cid}),)


def _extents(parts: list[Part]) -> tuple[Reference, ...]:
    return tuple(
        Reference(
            Role.EXTENT,
            part.name,
            details={"offset": part.offset, "sectors": part.declared // 512, "type": part.type, "access": part.access},
        )
        for part in parts
        if part.type
    )


def _extent(part: Part) -> dict[str, Any]:
    made: dict[str, Any] = {"compressed": True} if _compressed(part) else {}
    made["virtual-size"] = part.length
    made["filename"] = printable(part.name)
    if _grain(part):
        made["cluster-size"] = _grain(part)
    made["format"] = part.type
    return made


def _blocked(disk: Disk) -> str:
    for part in disk.parts:
        if part.access == "NOACCESS" and part.type != "ZERO":
            return f"the extent '{printable(part.name)}' has access NOACCESS"
    return ""


def _grain(part: Part) -> int:
    return part.sparse.grain if part.sparse else 0


def _compressed(part: Part) -> bool:
    return part.sparse is not None and part.sparse.compressed
