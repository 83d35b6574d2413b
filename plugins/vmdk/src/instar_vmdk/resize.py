"""The last extent of the disk grows or shrinks in place. Sizes are bytes unless they are called sectors.

Of a sparse extent one write of the header changes the size, the grain directories, and where the descriptor is, which
are all made anew before, behind all else. Of a flat one the descriptor's line decides.
"""

from __future__ import annotations

from array import array

from instar_core import limits as core_limits
from instar_core.errors import ErrorKind, FormatError
from instar_core.types import Barrier, Kind, Punch, Put, Reserve, Truncate
from instar_vmdk import limits
from instar_vmdk.grainputs import cleared, directories, used_end
from instar_vmdk.grains import grains
from instar_vmdk.layout import SECTOR
from instar_vmdk.opening import open_disk
from instar_vmdk.pieces import SPLIT
from instar_vmdk.tablewriter import addressed, little
from instar_vmdk.textchange import sized
from instar_vmdk.textputs import header_bytes, read_text, swap, text_edits
from instar_vmdk.update import writable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from instar_core.source import Image, Source
    from instar_core.types import Edit, Resize
    from instar_vmdk.layout import Part, Sparse
    from instar_vmdk.opening import Disk
    from instar_vmdk.textputs import Text


def resize_edits(image: Image, request: Resize) -> Iterator[Edit]:
    """The disk has the size, rounded up to sectors.

    Raises FormatError (UNSUPPORTED) where that needs a file more or less, or over a parent that is larger, or that
    nobody looked at; for extents of a kind that is only read, and a preallocation that there is none of.
    """
    disk = open_disk(image)
    size, part, number = -(-request.size // SECTOR) * SECTOR, disk.parts[-1], len(disk.parts) - 1
    if size > core_limits.VIRTUAL_SIZE:
        raise FormatError("the image size is too large for file format 'vmdk'", kind=ErrorKind.LIMIT)
    if size == disk.size:
        return
    _possible(image, disk, request, size)
    old = read_text(image.main)
    length = size - part.start
    lines = any(line.strip().startswith((b"RW", b"RDONLY")) for line in disk.descriptor.lines)
    new = sized(old.text, number, length // SECTOR, size // SECTOR) if lines else old.text
    if part.flat:
        yield from _flat(image, part, length, old, new, request.preallocation)
        return
    assert part.sparse is not None  # noqa: S101 - _possible has looked
    if length > part.length:
        yield from _grown(image, part, part.sparse, length, old, new)
    else:
        yield from _shrunk(image, part, part.sparse, length, old, new)


def _possible(image: Image, disk: Disk, request: Resize, size: int) -> None:
    """Raises FormatError (UNSUPPORTED) for what cannot be had in place."""
    part, how = disk.parts[-1], request.preallocation
    length = size - part.start
    wrong = ""
    if len(disk.parts) > 1 and not 0 < length <= max(SPLIT, part.length):
        wrong = "an image of several files cannot get one more or one less"
    elif disk.descriptor.repeated or part.type == "ZERO" or part.access != "RW" or part.device >= len(image.devices):
        wrong = "the last extent of the image cannot be changed"
    elif part.length != part.declared:
        wrong = "the descriptor and the last extent contradict each other"
    elif how not in (("off", "falloc", "full") if part.flat else ("off",)):
        wrong = f"Unsupported preallocation mode: {how}"
    elif disk.descriptor.hint and size > disk.size and (request.below is None or request.below > disk.size):
        wrong = "the parent may hold content where the image would grow"
    if wrong:
        raise FormatError(wrong, kind=ErrorKind.UNSUPPORTED)
    if part.sparse is not None:
        writable(image.devices[part.device], part.sparse)


def _flat(image: Image, part: Part, length: int, old: Text, new: bytes, how: str) -> Iterator[Edit]:
    source, device = image.devices[part.device], part.device
    end, after = part.offset + part.length, part.offset + length
    if after > end:
        yield Punch(end, max(0, min(source.size, after) - end), device)
        if after > source.size:
            yield Truncate(after, device)
        if how != "off":
            yield Reserve(end, after - end, how, device)
        yield Barrier()
    yield from text_edits(image.main, old, new)
    if after < end:
        alone = not any(other.device == device and other is not part for other in open_disk(image).parts[:-1])
        yield Truncate(after, device) if alone and source.size <= end else Punch(after, end - after, device)
        yield Barrier()


def _grown(image: Image, part: Part, sparse: Sparse, length: int, old: Text, new: bytes) -> Iterator[Edit]:
    source, device = image.devices[part.device], part.device
    grain, have = sparse.grain, -(-sparse.capacity // sparse.grain)
    tables = -(-length // (grain * sparse.per_table))
    if tables > limits.DIRECTORY_ENTRIES:
        raise FormatError("the image size is too large for file format 'vmdk'", kind=ErrorKind.LIMIT)
    if sparse.capacity % grain:
        for _, _, kind, offset in grains(source, sparse, have - 1, have):
            if kind == Kind.DATA:
                used = sparse.capacity % grain
                yield Punch(offset + used, grain - used, device)
    yield from cleared(source, sparse, device, have, sparse.entries * sparse.per_table)
    yield Barrier()
    end = -(-max(source.size, used_end(source, sparse, have)) // SECTOR) * SECTOR
    fields = {"capacity": length // SECTOR}
    if tables > sparse.entries:
        places = []
        for directory in directories(sparse):
            places.append(end // SECTOR)
            end = yield from _directory(source, sparse, device, directory, end, tables)
        fields["gd_offset"] = places[-1]
        if len(places) > 1:
            fields["rgd_offset"] = places[0]
        end = -(-end // grain) * grain
        yield Truncate(end, device)
        yield Barrier()
    yield from _header(image, part, old, new, end, fields)


def _directory(  # the place behind it is what the generator returns
    source: Source, sparse: Sparse, device: int, old: int, place: int, tables: int
) -> Generator[Edit, None, int]:
    """A grain directory of so many tables at `place`, a copy of the old one as far as that goes; behind it new tables,
    which are holes of the file."""
    room = -(-sparse.per_table * 4 // SECTOR)
    first = place // SECTOR + -(-tables * 4 // SECTOR)
    addressed(first + (tables - sparse.entries) * room)
    step = core_limits.PUT // 4
    for at in range(0, tables, step):
        stop = min(tables, at + step)
        known = max(0, min(stop, sparse.entries) - at)
        data = source.read(old + at * 4, known * 4, pad=True) if known else b""
        begin = max(at, sparse.entries) - sparse.entries
        count = stop - max(at, sparse.entries)
        if count > 0:
            data += little(array("I", range(first + begin * room, first + (begin + count) * room, room)))
        yield Put(place + at * 4, data, device)
    return (first + (tables - sparse.entries) * room) * SECTOR


def _shrunk(image: Image, part: Part, sparse: Sparse, length: int, old: Text, new: bytes) -> Iterator[Edit]:
    source, device = image.devices[part.device], part.device
    end = -(-source.size // SECTOR) * SECTOR
    yield from _header(image, part, old, new, end, {"capacity": length // SECTOR})
    have, keep = -(-sparse.capacity // sparse.grain), -(-length // sparse.grain)
    yield from cleared(source, sparse, device, keep, have)
    yield Barrier()
    # What the directories say of tables behind the last is never read again.
    after = used_end(source, sparse._replace(entries=-(-keep // sparse.per_table)), keep)
    for _, count, kind, offset in grains(source, sparse, keep, have):
        if kind == Kind.DATA and sparse.overhead <= offset < after:
            yield Punch(offset, min(count * sparse.grain, after - offset), device)
    if after < source.size:
        yield Truncate(after, device)
    yield Barrier()


def _header(image: Image, part: Part, old: Text, new: bytes, end: int, fields: dict[str, int]) -> Iterator[Edit]:
    """The extent's header has these fields, and the descriptor is the new one: where both are in one file, at once."""
    if not part.type:
        yield from swap(image.main, old, new, end, **fields)
        return
    yield Put(0, header_bytes(image.devices[part.device], **fields), part.device)
    yield Barrier()
    yield from text_edits(image.main, old, new)
