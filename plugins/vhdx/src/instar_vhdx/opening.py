"""What a VHDX file consists of, seen through its log where that is not replayed yet."""

from __future__ import annotations

from instar_core.errors import ErrorKind, FormatError
from instar_vhdx.header import current
from instar_vhdx.layout import BAT_REGION, BITS_PER_BITMAP, METADATA_REGION, NO_GUID, Header, Region
from instar_vhdx.log import Replay, replay
from instar_vhdx.metadata import Metadata, read_metadata
from instar_vhdx.overlay import Overlay, replayed
from instar_vhdx.regions import named, read_regions

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NamedTuple

    from instar_core.source import Image, Source
else:
    from instar_core.record import NamedTuple


class Disk(NamedTuple):
    """An open VHDX file. `source` is the file as its log leaves it; `replay` is None where the log has nothing."""

    source: Source
    header: Header
    regions: tuple[Region, ...]
    bat: Region
    metadata: Metadata
    replay: Replay | None
    overlay: Overlay | None
    taken: tuple[tuple[int, int], ...] = ()
    """Where the log and the regions begin and end: no block may lie there."""

    @property
    def blocks(self) -> int:
        """Payload blocks of the disk."""
        return -(-self.metadata.size // self.metadata.block)

    @property
    def ratio(self) -> int:
        """Payload blocks of a chunk: those that share a sector bitmap block."""
        return BITS_PER_BITMAP * self.metadata.logical // self.metadata.block


def open_disk(image: Image) -> Disk:
    """The image. Raises FormatError, in qemu's words where it has some, for what cannot be opened."""
    main = image.main
    header = current(main)
    source, log, overlay = main, None, None
    if header.log_guid != NO_GUID:
        log = replay(main, header)
        if log is not None:
            overlay = Overlay(log)
            source = replayed(main, log.size, overlay)
    regions = read_regions(source, header)
    bat = named(regions, BAT_REGION, "block allocation table")
    metadata = read_metadata(source, named(regions, METADATA_REGION, "metadata region"))
    taken = ((header.log_offset, header.log_offset + header.log_length), *((one.offset, one.end) for one in regions))
    disk = Disk(source, header, regions, bat, metadata, log, overlay, taken)
    if table_entries(disk.blocks, disk.ratio, metadata.parent) * 8 > bat.length:
        raise FormatError(
            f"the block allocation table, {bat.length} bytes, is too short for a disk of {metadata.size}",
            kind=ErrorKind.CORRUPT,
            offset=bat.offset,
        )
    return disk


def table_entries(blocks: int, ratio: int, parent: bool) -> int:
    """Entries of the block allocation table ([MS-VHDX] 2.5): after each chunk's blocks one for its sector bitmap."""
    if parent:
        return -(-blocks // ratio) * (ratio + 1)
    return blocks + (blocks - 1) // ratio if blocks else 0
