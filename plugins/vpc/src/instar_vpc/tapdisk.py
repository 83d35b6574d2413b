"""What XenServer's own programs keep beside the structures of the specification: a map of the blocks that are whole.

It stands behind the block allocation table of a disk that tapdisk made, "tdbatmap" in front, and where it says that a
block is whole nobody looks at the block's bitmap any more. Nothing else knows it, so a change would leave it wrong:
before one, the footer says that the disk was made by a tapdisk that did not keep such a map yet.
"""

from __future__ import annotations

from instar_core.types import Barrier, Put
from instar_vpc.footers import Copy, Footers
from instar_vpc.layout import FOOTER, Footer
from instar_vpc.revised import footer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator

    from instar_core.types import Edit
    from instar_vpc.opening import Disk

CREATOR = b"tap\0"
MAPLESS = 0
"""A creator version before there was the map. The one with it is 1.1; in disks of 0.1 bitmaps begin at the other end of
a byte."""
OLDEST = 1


def mapless(disk: Disk) -> Generator[Edit, None, Disk]:
    """Nobody looks for a map of whole blocks in this disk any more; the disk with the footers that it has then."""
    main, head, tail = disk.footers
    if disk.header is None or main.footer.creator_application != CREATOR or main.footer.creator_version <= OLDEST:
        return disk
    data = footer(main, creator_version=MAPLESS)
    said = Footer._make(FOOTER.unpack(data))
    yield Put(0, data)
    yield Barrier()
    head = Copy(0, data, said, True)
    if tail is not None and tail.data == main.data:
        yield Put(tail.place, data)
        yield Barrier()
        tail = tail._replace(data=data, footer=said)
    return disk._replace(footers=Footers(head, head, tail))
