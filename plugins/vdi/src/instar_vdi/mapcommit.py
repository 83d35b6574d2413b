"""Changing the block map and the count of allocated blocks as one.

The count stands in the header, so the two cannot be written together, and an image in which they differ is one that a
check calls damaged. But the header also says where the map lies: the new map is written to another place, one write of
the header makes it and the count current, and then the same way back. Where there is no other place (it must begin in
the first 4 GiB of the file and outside of all blocks) the count is raised first: then it claims too many blocks at any
time, and never a block that is in use for a free one.
"""

from __future__ import annotations

from array import array

from instar_core import limits as core_limits
from instar_core.types import Barrier, Put
from instar_vdi.blocks import ABSENT, stretches
from instar_vdi.heading import Heading
from instar_vdi.layout import FREE, SECTOR, little

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from instar_core.source import Source
    from instar_core.types import Edit
    from instar_vdi.layout import Header

    Entries = tuple[int, int, int, int]
    """Block, how many, the stored block or ABSENT, step: as blocks.stretches tells them."""

ENTRIES = core_limits.PUT // 4
NEAR = core_limits.MIB << 4
"""How much longer than its disk and its blocks an image may become for a while."""

OFFSETS = 1 << 32
"""What no offset in the header reaches."""


class MapCommit:
    """The block map of an image that is written to."""

    __slots__ = ("_aside", "_copied", "_source", "heading")

    def __init__(self, source: Source) -> None:
        self._source = source
        self.heading = Heading(source)
        self._aside = aside(self.heading.now, source.size, self.heading.now.size)
        self._copied = False

    @property
    def far(self) -> bool:
        """Whether a commit has made the file longer than its blocks make it."""
        return self._copied and self._aside > self.heading.now.offset_data

    def commit(self, changes: list[Entries], allocated: int) -> Iterator[Edit]:
        """The map says what the changes say, blocks ascending, and the count is `allocated`.

        What was written before is on stable storage before that, and all of it afterwards.
        """
        if not changes:
            yield Barrier()
            return
        header = self.heading.now
        home = header.offset_bmap
        if not self._aside:
            yield self.heading.put(allocated=max(allocated, header.allocated))
            yield Barrier()
            yield from puts(home, changes)
            yield Barrier()
            if allocated != self.heading.now.allocated:
                yield self.heading.put(allocated=allocated)
                yield Barrier()
            return
        if not self._copied:
            yield from puts(self._aside, stretches(self._source, header, 0, header.blocks))
            self._copied = True
        yield from puts(self._aside, changes)
        yield Barrier()
        yield self.heading.put(offset_bmap=self._aside, allocated=allocated)
        yield Barrier()
        yield from puts(home, changes)
        yield Barrier()
        yield self.heading.put(offset_bmap=home)
        yield Barrier()


def aside(header: Header, size: int, disk: int) -> int:
    """Where a second block map has room that no block can ever have, in bytes; 0 where there is none.

    It is no further than an image of a disk of `disk` bytes in a file of `size` may reach.
    """
    length = -(-4 * header.blocks // SECTOR) * SECTOR
    low, high = header.offset_bmap, header.offset_bmap + length
    if low < header.offset_data:
        if SECTOR + length <= low:
            return SECTOR
        if high + length <= header.offset_data:
            return high
    far = -(-max(size, header.offset_data + header.blocks * header.stored) // SECTOR) * SECTOR
    return far if far + length < min(OFFSETS, size + disk + NEAR) else 0


def puts(place: int, entries: Iterable[Entries]) -> Iterator[Put]:
    """These entries of the map at `place`, in long pieces; what is not among them stays."""
    base, gathered = 0, array("I")
    for start, left, first, step in entries:
        block, count, index = start, left, first
        while count:
            if block != base + len(gathered) or len(gathered) >= ENTRIES:
                if gathered:
                    yield Put(place + 4 * base, little(gathered))
                base, gathered = block, array("I")
            some = min(count, ENTRIES - len(gathered))
            if index == ABSENT:
                gathered.extend(array("I", [FREE]) * some)
            else:
                gathered.extend(range(index, index + some) if step else array("I", [index]) * some)
                index += step * some
            block, count = block + some, count - some
    if gathered:
        yield Put(place + 4 * base, little(gathered))
