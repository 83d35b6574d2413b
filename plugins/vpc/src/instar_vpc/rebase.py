"""Another parent, or none, and an image that holds nothing of its own any more.

The header with the names of the parent is longer than a sector, so it is made anew behind all else; one write of the
footer in front makes it the one that counts, and it goes back to its place when nothing refers to that any more.
"""

from __future__ import annotations

from instar_core.errors import ErrorKind, FormatError
from instar_core.types import Barrier, Punch, Put, Truncate
from instar_vpc import limits
from instar_vpc.blocks import blocks
from instar_vpc.choices import parent_id, stored_name
from instar_vpc.layout import FOOTER, HEADER_SIZE, SECTOR, DiskType
from instar_vpc.mending import used_end
from instar_vpc.newimage import parent_locators
from instar_vpc.opening import open_disk
from instar_vpc.resize import unused
from instar_vpc.revised import committed, footer, front, header
from instar_vpc.tapdisk import mapless

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from instar_core.source import Image, Source
    from instar_core.types import Edit, Rebase
    from instar_vpc.layout import Header
    from instar_vpc.opening import Disk


def rebase_edits(image: Image, request: Rebase) -> Iterator[Edit]:
    """The disk has this parent, or none: what it lacks are zeros then.

    Raises FormatError (UNSUPPORTED) where a disk without a parent is to have one, (USAGE) for an impossible parent.
    """
    disk = open_disk(image)
    head, source = disk.header, image.main
    if head is None or not disk.differencing:
        if request.backing is None:
            return
        raise FormatError("Only a differencing disk can have another parent", kind=ErrorKind.UNSUPPORTED)
    given = request.backing
    disk = yield from mapless(disk)
    main, place, base = disk.footers.main, disk.footer.data_offset, used_end(source, disk, head)
    entries, names, own, who, final = b"", b"", b"", bytes(16), main.data
    if given is None:
        final = footer(main, disk_type=DiskType.DYNAMIC)
    else:
        name = stored_name(given.get("name") or b"", given.get("format"))
        entries, names, own = parent_locators(name, base)
        who = parent_id(given)
    made = header(
        source, place, entries, parent_unique_id=who, parent_time_stamp=0, parent_unicode_name=own.ljust(512, b"\0")
    )
    yield from front(disk)
    if given is None:
        yield from _zeroed(source, disk, head)
    aside = base + len(names)
    yield Put(base, names + made)
    yield Put(aside + HEADER_SIZE, main.data)
    yield Truncate(aside + HEADER_SIZE + FOOTER.size)
    yield Barrier()
    kind = DiskType.DIFFERENCING if given else DiskType.DYNAMIC
    yield Put(0, footer(main, disk_type=kind, data_offset=aside))
    yield Barrier()
    yield Put(place, made)
    yield Barrier()
    yield from committed(final, aside + HEADER_SIZE)
    yield Put(aside, final)
    yield Barrier()
    yield Truncate(aside + FOOTER.size)
    yield Barrier()


def _zeroed(source: Source, disk: Disk, head: Header) -> Iterator[Edit]:
    """Sectors that only the parent has are zeros in the blocks that are here; their bitmaps are not looked at then."""
    stride = disk.bitmap + head.block_size
    for _, count, offset in blocks(source, head.table_offset, stride, 0, disk.blocks):
        for each in range(count if offset is not None else 0):
            place = (offset or 0) + each * stride
            bitmap = source.read(place, disk.bitmap)
            if bitmap.count(0xFF) == len(bitmap):
                continue
            bits = f"{int.from_bytes(bitmap, 'big'):0{len(bitmap) * 8}b}"[: head.block_size // SECTOR]
            at = bits.find("0")
            while at >= 0:
                end = bits.find("1", at)
                end = len(bits) if end < 0 else end
                yield Punch(place + disk.bitmap + at * SECTOR, (end - at) * SECTOR)
                at = bits.find("0", end)


def empty_edits(image: Image) -> Iterator[Edit]:
    """No block is in the file any more. Raises FormatError (UNSUPPORTED) for a fixed disk."""
    disk = open_disk(image)
    head, source = disk.header, image.main
    if head is None:
        raise FormatError("A fixed disk cannot be emptied", kind=ErrorKind.UNSUPPORTED)
    disk = yield from mapless(disk)
    yield from front(disk)
    yield from unused(source, head.table_offset, 0, min(head.max_table_entries, limits.BLOCKS, _inside(source, head)))
    yield Barrier()
    end = used_end(source, disk, head._replace(max_table_entries=0))
    end = max(end, -(-(head.table_offset + head.max_table_entries * 4) // SECTOR) * SECTOR)
    yield Put(end, disk.footers.main.data)
    yield Barrier()
    yield Truncate(end + FOOTER.size)
    yield Barrier()


def _inside(source: Source, head: Header) -> int:
    """Entries of the table that the file has room for."""
    return max(0, (source.size - head.table_offset) // 4)
