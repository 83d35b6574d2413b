"""What a Parallels image says of itself."""

from __future__ import annotations

from instar_core.types import ImageInfo
from instar_parallels.layout import CLOSED, IN_USE
from instar_parallels.opening import open_disk

TYPE_CHECKING = False
if TYPE_CHECKING:
    from instar_core.source import Source

STATES = {IN_USE: "in use", CLOSED: "closed", 0: "closed by an old program"}


def describe(source: Source) -> ImageInfo:
    """The image's facts. qemu-img prints neither cluster size nor dirty flag for this format; they are `extra`."""
    disk = open_disk(source)
    header = disk.header
    flags = () if header.in_use == CLOSED else ("in-use",)  # the last program did not keep the bitmaps up to date
    extra: dict[str, str | int] = {
        "magic": header.magic.decode("ascii"),
        "cluster-size": disk.cluster,
        "state": STATES.get(header.in_use, f"{header.in_use:#x}"),
        "data-offset": disk.data,
        "heads": header.heads,
        "cylinders": header.cylinders,
    }
    if header.flags:
        extra["flags"] = header.flags
    return ImageInfo(
        format="parallels",
        virtual_size=disk.size,
        bitmaps=tuple([stored.bitmap._replace(flags=flags) for stored in disk.bitmaps]),
        dirty=None,
        extra=extra,
    )
