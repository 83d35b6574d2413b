"""Mending a VHD image: the footer that is damaged is written anew from the one that is sound, and unused blocks at the
end go. At any point at least one footer is sound."""

from __future__ import annotations

from instar_core.types import Barrier, Put, Truncate
from instar_vpc.layout import FOOTER
from instar_vpc.mending import fixed_slack, mending
from instar_vpc.opening import open_disk

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from instar_core.source import Image
    from instar_core.types import Edit, Repair


def repair_edits(image: Image, request: Repair) -> Iterator[Edit]:
    """The edits that mend what a check calls repairable; none where there is nothing of the kind."""
    disk = open_disk(image, lenient=True)
    data = disk.footers.main.data
    if disk.header is None:
        if fixed_slack(disk):
            yield Put(disk.size, data)
            yield Barrier()
            yield Truncate(disk.size + FOOTER.size)
            yield Barrier()
        return
    made = mending(image.main, disk, disk.header)
    if made.head and request.mode == "all":
        yield Put(0, data)
        yield Barrier()
    if made.tail is not None:
        yield Put(made.tail, data)
        yield Barrier()
    if made.leaked and made.trusted:
        yield Put(made.end, data)
        yield Barrier()
        yield Truncate(made.end + FOOTER.size)
        yield Barrier()
