"""What an image that is there says of itself, changed: its backing file, its size; or nothing left of its content.

Each becomes so with one write of the header, which lies in the file's first sector.
"""

from __future__ import annotations

from instar_core import limits as core_limits
from instar_core.errors import ErrorKind, FormatError
from instar_core.types import Barrier, Kind, Put, Truncate, Zero
from instar_qcow import layout, limits
from instar_qcow.growing import Growing
from instar_qcow.header import entries, read_header
from instar_qcow.tables import clusters
from instar_qcow.writable import writable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from instar_core.source import Image, Source
    from instar_core.types import Edit, Rebase, Resize
    from instar_qcow.header import Header
    from instar_qcow.writable import Writable


def rebased(image: Image, request: Rebase) -> Iterator[Edit]:
    """The header names the backing file of the request, or none.

    The name stands behind the header where there is room, else at the end of the file. Raises FormatError for one that
    is too long.
    """
    opened = writable(image.main)
    given = (request.backing or {}).get("name") or b""
    name = given.encode("utf-8", "surrogateescape") if isinstance(given, str) else bytes(given)
    if len(name) > limits.BACKING_NAME:
        raise FormatError("Backing file name too long", kind=ErrorKind.USAGE)
    place = layout.HEADER.size
    behind = place + len(name) <= min(opened.first, layout.SECTOR)
    if not behind:
        place = opened.end
        yield Put(place, name)
        yield Barrier()
    fields = _fields(image.main)._replace(
        backing_file_offset=place if name else 0, backing_file_size=len(name) if name else 0
    )
    yield Put(0, layout.HEADER.pack(*fields) + (name if behind else b""))
    yield Barrier()


def emptied(image: Image) -> Iterator[Edit]:
    """The image has nothing but its header and its L1 table, and the file ends behind that.

    A new table past the end of the file takes its place, until the old one is zeros.
    """
    header = read_header(image.main)
    home, size = header.l1_table_offset, 8 * header.l1_size
    if home + size > image.main.size:
        raise FormatError("The L1 table does not lie inside the file", kind=ErrorKind.CORRUPT, offset=home)
    place = -(-max(image.main.size, home + size) // layout.SECTOR) * layout.SECTOR
    fields = _fields(image.main)
    yield Truncate(place)
    yield Truncate(place + size)
    yield Barrier()
    yield Put(0, layout.HEADER.pack(*fields._replace(l1_table_offset=place)))
    yield Barrier()
    yield Zero(home, size)
    yield Barrier()
    yield Put(0, layout.HEADER.pack(*fields))
    yield Barrier()
    name_end = header.backing_file_offset + fields.backing_file_size if header.backing_file else 0
    yield Truncate(max(home + size, name_end))
    yield Barrier()


def resized(image: Image, request: Resize) -> Iterator[Edit]:
    """The disk is larger, and what it grows by reads as zeros. A longer L1 table lies at the end of the file.

    The format has no clusters of zeros: where the backing file is longer than the disk, the image gets empty ones of
    its own, which are holes of the file. Raises FormatError (UNSUPPORTED) for a smaller size, for a backing file that
    nobody has looked at, and where zeros cannot be had: (REFUSED) in a cluster that is compressed, encrypted or the
    backing file's and in which the disk ends, and over what the backing file has, if the image is encrypted.
    """
    opened = writable(image.main)
    header, size = opened.header, -(-request.size // layout.SECTOR) * layout.SECTOR
    if request.preallocation != "off":
        raise FormatError(f"Unsupported preallocation mode '{request.preallocation}'", kind=ErrorKind.UNSUPPORTED)
    if size < header.size:
        raise FormatError("A qcow image cannot shrink", kind=ErrorKind.UNSUPPORTED)
    if size == header.size:
        return
    if header.backing_file and request.below is None:
        raise FormatError("A qcow image with a backing file cannot grow", kind=ErrorKind.UNSUPPORTED)
    below = min(size, request.below or 0) if header.backing_file else 0
    if below > header.size and header.encrypted:
        raise FormatError("An encrypted image has no zeros to cover its backing file", kind=ErrorKind.UNSUPPORTED)
    l1_size = entries(size, header.cluster_bits + header.l2_bits)
    growing = Growing(image.main, opened)
    if l1_size > header.l1_size:
        growing.l1 = growing.allocate(8 * l1_size)
        for at in range(0, 8 * header.l1_size, core_limits.PUT):
            some = min(core_limits.PUT, 8 * header.l1_size - at)
            yield Put(growing.l1 + at, image.main.read(header.l1_table_offset + at, some))
    yield from _behind(image.main, opened, growing, below)
    yield from _covered(header, growing, below)
    yield from growing.commit()
    yield Barrier()
    yield Put(0, layout.HEADER.pack(*_fields(image.main)._replace(size=size, l1_table_offset=growing.l1)))
    yield Barrier()


def _behind(source: Source, opened: Writable, growing: Growing, below: int) -> Iterator[Edit]:
    """What the image has behind the end of the disk, and behind what is going to be covered, is zeros."""
    header = opened.header
    inside = header.size % header.cluster_size
    last = header.size >> header.cluster_bits
    covered = -(-below >> header.cluster_bits)
    for cluster, count, kind, offset, stored in clusters(source, header, last, header.l1_size << header.l2_bits):
        at, end = cluster, cluster + count
        if at == last and inside:
            plain = kind == Kind.DATA and not stored and not header.encrypted
            if (kind == Kind.DATA or below > header.size) and not plain:
                raise FormatError("The disk ends inside a cluster whose rest cannot be zeroed", kind=ErrorKind.REFUSED)
            if plain:
                yield Zero(offset + inside, header.cluster_size - inside)
            at += 1
        at = max(at, covered)
        if kind == Kind.DATA and at < end:
            growing.set(at, end - at, 0, 0)


def _covered(header: Header, growing: Growing, below: int) -> Iterator[Edit]:
    """The image has clusters of its own where the backing file goes on behind the disk, and they are holes."""
    bits = header.cluster_bits
    first, end, step = -(-header.size >> bits), -(-below >> bits), 1 << header.l2_bits
    while first < end:
        count = min(end - first, step - first % step)
        growing.set(first, count, growing.allocate(count << bits), 1 << bits)
        first += count
        if growing.full:
            yield from growing.commit()


def _fields(source: Source) -> layout.Fields:
    return layout.Fields._make(source.unpack(layout.HEADER, 0))
