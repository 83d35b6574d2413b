"""Mending a VDI image: the count of allocated blocks."""

from __future__ import annotations

from instar_core.types import Barrier, Put
from instar_vdi.check import allocated_blocks
from instar_vdi.layout import ALLOCATED_AT
from instar_vdi.opening import cut, open_image

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from instar_core.source import Image
    from instar_core.types import Edit, Repair


def mending(image: Image, request: Repair) -> Iterator[Edit]:
    """blocks_allocated says what the block map says, if all is to be mended and the map is there."""
    header = open_image(image.main)
    if request.mode == "all" and not cut(image.main, header):
        count = allocated_blocks(image.main, header)
        if count != header.allocated:
            yield Put(ALLOCATED_AT, count.to_bytes(4, "little"))
    yield Barrier()
