"""Another size of the disk of an image that is there."""

from __future__ import annotations

from instar_core import limits as core_limits
from instar_core.errors import ErrorKind, FormatError
from instar_core.types import Barrier, Punch, Put, Truncate, Zero
from instar_vdi import limits
from instar_vdi.blocks import ABSENT, stretches
from instar_vdi.heading import Heading
from instar_vdi.layout import SECTOR, Type
from instar_vdi.mapcommit import OFFSETS, aside, puts
from instar_vdi.usage import Usage, opened

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from instar_core.source import Image, Source
    from instar_core.types import Edit, Resize
    from instar_vdi.layout import Header
    from instar_vdi.mapcommit import Entries


def resized(image: Image, request: Resize) -> Iterator[Edit]:
    """The disk has the size, rounded up to sectors, from one write of the header on.

    Blocks behind the end of a smaller disk stay in the map, and become holes of the file. Raises FormatError: for a
    size that is too large, and UNSUPPORTED where a longer map has no room and none can be made.
    """
    source = image.main
    header = opened(source)
    size = -(-request.size // SECTOR) * SECTOR
    if size > limits.SIZE or -(-size // header.block_size) > limits.BLOCKS:
        raise FormatError(
            f"Unsupported VDI image size (size is {size:#x}, max supported is {limits.SIZE:#x})", kind=ErrorKind.USAGE
        )
    if request.preallocation != "off":
        raise FormatError(f"Unsupported preallocation mode '{request.preallocation}'", kind=ErrorKind.UNSUPPORTED)
    if size < header.size:
        yield Heading(source).put(**_sized(size))
        yield Barrier()
        yield from _cleared(source, header, size, punch=True)
        return
    usage = Usage(source, header)
    yield from _cleared(source, header, header.size, punch=False)
    growing = Growing(source, header, usage, size)
    yield from growing.grown()


def _sized(size: int) -> dict[str, int]:
    """Fields of the header: with another size the geometry is another, and 0 says that none is stored."""
    return dict(disk_size=size, cylinders=0, heads=0, sectors=0)


def _cleared(source: Source, header: Header, size: int, *, punch: bool) -> Iterator[Edit]:
    """All that is stored behind the end of a disk of this size reads as zeros."""
    block_size, end = header.block_size, source.size
    inside, last = size % block_size, size // block_size
    for block, count, index, step in stretches(source, header, last, header.blocks):
        if index == ABSENT:
            continue
        for number in range(count):
            skip = inside if block + number == last else 0
            offset = header.place(index + step * number) + skip
            length = min(block_size - skip, end - offset)
            if length > 0:
                yield Punch(offset, length) if punch or not skip else Zero(offset, length)
    yield Barrier()


class Growing:
    """A longer disk. Where its map has no room in front of the blocks, the first of them go behind the last."""

    __slots__ = ("_blocks", "_header", "_heading", "_moved", "_size", "_source", "_static", "_usage")

    def __init__(self, source: Source, header: Header, usage: Usage, size: int) -> None:
        self._source = source
        self._header = header
        self._heading = Heading(source)
        self._usage = usage
        self._size = size
        self._blocks = max(header.blocks, -(-size // header.block_size))
        self._static = header.image_type == Type.STATIC
        room = header.offset_data - header.offset_bmap
        short = max(0, self._length - room) if self._blocks > header.blocks else 0
        self._moved = -(-short // header.stored) if room >= 0 else 0

    @property
    def _length(self) -> int:
        return -(-4 * self._blocks // SECTOR) * SECTOR

    def grown(self) -> Iterator[Edit]:
        """The edits."""
        header = self._header
        further = self._blocks - header.blocks if self._static else 0
        if header.offset_bmap > header.offset_data:
            raise FormatError(
                "The block map lies behind the blocks: the image must be repaired first", kind=ErrorKind.UNSUPPORTED
            )
        if self._moved:
            yield from self._longer(further)
            return
        yield from puts(header.offset_bmap, self._behind(self._usage.end))
        if further:
            yield Truncate(max(self._source.size, header.place(self._usage.end + further - 1) + header.block_size))
        yield Barrier()
        yield self._heading.put(blocks=self._blocks, allocated=header.allocated + further, **_sized(self._size))
        yield Barrier()

    def _behind(self, first: int) -> Iterator[Entries]:
        """The entries of the blocks that are new."""
        count = self._blocks - self._header.blocks
        if count:
            yield self._header.blocks, count, first if self._static else ABSENT, 1 if self._static else 0

    def _longer(self, further: int) -> Iterator[Edit]:
        """As `grown`, with a longer map that begins where the old one does."""
        header, moved = self._header, self._moved
        data = header.offset_data + moved * header.stored
        begin = max(self._usage.end, moved)
        """The first number, counted as before, of the places behind all blocks."""
        end = header.offset_data + (begin + min(moved, self._usage.end) + further) * header.stored
        place = aside(
            header._replace(offset_bmap=data, offset_data=data, blocks=self._blocks),
            max(self._source.size, end),
            self._size,
        )
        if data >= OFFSETS or (not place and begin + min(moved, self._usage.end) > header.blocks):
            raise FormatError(
                "The block map cannot grow: there is no room in front of the blocks, and none can be made",
                kind=ErrorKind.UNSUPPORTED,
            )
        yield from self._copied(begin)
        yield Truncate(max(self._source.size, end))
        final = dict(offset_data=data, blocks=self._blocks, allocated=self._usage.count + further, **_sized(self._size))
        if place:
            yield from puts(place, self._entries(begin))
            yield Barrier()
            yield self._heading.put(offset_bmap=place, **final)
            yield Barrier()
            yield from puts(header.offset_bmap, self._entries(begin))
            yield Barrier()
            yield self._heading.put(offset_bmap=header.offset_bmap)
            yield Barrier()
            yield Truncate(max(end, data))
            return
        # The old map leads to the new places first: then the old ones are free, and the map may lie there.
        yield Barrier()
        yield self._heading.put(allocated=begin + min(moved, self._usage.end))
        yield Barrier()
        yield from puts(header.offset_bmap, self._redirected(begin))
        yield Barrier()
        yield from puts(header.offset_data, self._entries(begin))
        yield Barrier()
        yield self._heading.put(offset_bmap=header.offset_data, **final)
        yield Barrier()

    def _stretches(self) -> Iterator[Entries]:
        """The old map, cut at the first stored block that stays where it is."""
        for block, count, index, step in stretches(self._source, self._header, 0, self._header.blocks):
            here = min(count, self._moved - index) if step and 0 <= index < self._moved else count
            yield block, here, index, step
            if here < count:
                yield block + here, count - here, index + here, step

    def _redirected(self, begin: int) -> Iterator[Entries]:
        for block, count, index, step in self._stretches():
            if 0 <= index < self._moved:
                yield block, count, begin + index, step

    def _entries(self, begin: int) -> Iterator[Entries]:
        """The new map, whose numbers count from a later place."""
        for block, count, index, step in self._stretches():
            if index == ABSENT:
                yield block, count, ABSENT, 0
            else:
                yield block, count, (begin + index if index < self._moved else index) - self._moved, step
        yield from self._behind(begin + min(self._moved, self._usage.end) - self._moved)

    def _copied(self, begin: int) -> Iterator[Edit]:
        header = self._header
        for block, count, index, _ in self._stretches():
            if not 0 <= index < self._moved:
                continue
            for number in range(count):
                old, new = (header.place(each + index + number) - header.block_extra for each in (0, begin))
                # Not from the file, where what lies behind the disk may not be zeros yet.
                inside = min(header.block_size, max(0, header.size - (block + number) * header.block_size))
                length = header.block_extra + inside
                for at in range(0, length, core_limits.PUT):
                    yield Put(new + at, self._source.read(old + at, min(core_limits.PUT, length - at), pad=True))
                if inside < header.block_size:
                    yield Zero(new + length, header.block_size - inside)
