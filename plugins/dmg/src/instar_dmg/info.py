"""What an image says of itself."""

from __future__ import annotations

from instar_core.types import Coding, ImageInfo
from instar_dmg import layout
from instar_dmg.blocks import Disk, largest, open_disk

TYPE_CHECKING = False
if TYPE_CHECKING:
    from instar_core.source import Image


def info(image: Image) -> ImageInfo:
    """All that the metadata tells."""
    disk = open_disk(image.main)
    return ImageInfo(
        format="dmg",
        virtual_size=disk.koly.sector_count * layout.SECTOR,
        codings=tuple(codings(disk).values()),
        dirty=None,
        partial=False,
        extra={
            "flags": disk.koly.flags,
            "data-fork-offset": disk.koly.data_fork_offset,
            "data-fork-length": disk.koly.data_fork_length,
            "tables": [
                {
                    "name": table.name,
                    "start": table.mish.first_sector,
                    "sectors": table.mish.sector_count,
                    "chunks": table.mish.chunk_count,
                }
                for table in disk.tables
            ],
        },
    )


def codings(disk: Disk) -> dict[int, Coding]:
    """A coding for each ChunkType in use that has to be decoded, ascending. Its unit is the largest such chunk."""
    return {kind: _coding(layout.CODINGS[kind], size) for kind, size in sorted(largest(disk).items())}


def _coding(name: str, size: int) -> Coding:
    """The params are what instar_dmg.decode needs; zlib is decoded by the core, which does not look at them."""
    return Coding(name, size, params={"kind": name, "unit": size})
