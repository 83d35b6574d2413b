"""The virtual disk grows or shrinks, in place. Source: docs/interop/qcow2.txt of QEMU.

What lies behind the disk's end is out of sight, so it can be prepared, and cleared away, without anybody noticing; the
one write that counts is that of the header.
"""

from __future__ import annotations

from instar_core.errors import ErrorKind, FormatError
from instar_core.types import Barrier, Punch, Put, Reserve, Truncate
from instar_qcow2 import layout
from instar_qcow2.bitmap_resize import resized_bitmaps
from instar_qcow2.edge import Edge, Filling, entry_of, set_entry
from instar_qcow2.header import read_header
from instar_qcow2.hostclusters import HostClusters
from instar_qcow2.rehead import rewriting
from instar_qcow2.settling import Settling
from instar_qcow2.shadow import KEPT
from instar_qcow2.sizes import ceil_div
from instar_qcow2.snapshot_edit import refuse
from instar_qcow2.tables import ALLOCATED, ZEROS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from instar_core.source import Image, Source
    from instar_core.types import Edit, Resize
    from instar_qcow2.header import Header

SECTOR = 512
MODES = ("off", "metadata", "falloc", "full")


def resize(image: Image, request: Resize) -> Iterator[Edit]:
    """The disk has the size; every snapshot is as before. Raises FormatError, in qemu's words."""
    header = read_header(image.main)
    refuse(header)
    if request.preallocation not in MODES:
        raise FormatError(f"Unsupported preallocation mode '{request.preallocation}'", kind=ErrorKind.UNSUPPORTED)
    if request.size % SECTOR:
        raise FormatError("The new size must be a multiple of 512")
    if header.nb_snapshots and header.version < 3:
        raise FormatError("Can't resize a v2 image which has snapshots", kind=ErrorKind.UNSUPPORTED)
    if request.size < header.disk_size:
        yield from shrink(image, header, request.size)
    else:
        yield from grow(image, header, request)


def shrink(image: Image, header: Header, size: int) -> Iterator[Edit]:
    """The disk ends at `size`: first the header says so, then what is past the end goes."""
    source = image.main
    clusters = HostClusters(source, header)
    start = size >> header.cluster_bits
    edge = Edge(source, header, clusters, start)
    edge.drop(ceil_div(size, header.cluster_size))
    edge.settle()
    bitmaps = resized_bitmaps(source, header, clusters, size)
    tail = list(cleared_tail(image, header, clusters, edge, size, copying=False))
    settling = Settling(source, header, clusters)
    head = rewriting(source, header, fields=fields(header, size, settling), extensions=bitmaps.extension)
    yield from head.before
    yield from bitmaps.puts(source)
    yield from edge.fresh()
    yield from settling.rise()
    yield head.commit
    yield from head.after
    yield Barrier()
    yield from edge.written()
    yield from bitmaps.tails(source)
    yield from tail
    if header.data_file:
        yield Truncate(size, 1)
    yield Barrier()
    yield from settling.fall(before_cut=True)
    yield from settling.cut()
    yield Barrier()


def grow(image: Image, header: Header, request: Resize) -> Iterator[Edit]:
    """The disk ends at request.size, and reads as zeros from its old end on."""
    source, size, old = image.main, request.size, header.disk_size
    clusters = HostClusters(source, header)
    start = old >> header.cluster_bits
    edge = Edge(source, header, clusters, start)
    edge.drop(ceil_div(old, header.cluster_size))
    edge.move(ceil_div(ceil_div(size, header.cluster_size), header.l2_entries))
    below = old < size and shines_through(header, request)
    tail = list(cleared_tail(image, header, clusters, edge, old, copying=True, below=below)) if size > old else []
    reserve = list(filled(source, header, clusters, edge, request, below=below)) if size > old else []
    edge.settle()
    bitmaps = resized_bitmaps(source, header, clusters, size)
    settling = Settling(source, header, clusters)
    told = fields(header, size, settling) | {"l1_size": edge.l1_size, "l1_table_offset": edge.l1_offset}
    head = rewriting(source, header, fields=told, extensions=bitmaps.extension)
    yield from head.before
    yield from bitmaps.puts(source)
    if header.data_file and image.devices[1].size > old:
        yield Punch(old, min(size, image.devices[1].size) - old, 1)
    if header.data_file and image.devices[1].size < size:
        yield Truncate(size, 1)
    yield from tail
    yield from edge.fresh()
    yield from settling.rise()
    yield from reserve
    yield from edge.written()
    yield Barrier()
    yield head.commit
    yield from head.after
    yield Barrier()
    yield from settling.fall()
    yield Barrier()


def fields(header: Header, size: int, settling: Settling) -> dict[str, int]:
    """What the header says of the size and of the refcounts; autoclear features that are not kept up are cleared."""
    return {
        "size": size,
        "autoclear_features": header.autoclear_features & KEPT,
        **settling.fields(),
    }


def shines_through(header: Header, request: Resize) -> bool:
    """Whether the backing image has something where the disk grows. Raises FormatError where nothing can hide it."""
    if not reaches(header, request, header.disk_size):
        return False
    fills = ceil_div(request.size, header.cluster_size) > ceil_div(header.disk_size, header.cluster_size)
    if header.version < 3 and fills and request.preallocation not in ("falloc", "full"):
        raise FormatError("Failed to zero out new clusters: Operation not supported", kind=ErrorKind.UNSUPPORTED)
    return True


def reaches(header: Header, request: Resize, place: int) -> bool:
    """Whether the backing image may have something behind the place."""
    return bool(header.backing_file) and (request.below is None or request.below > place)


def filled(
    source: Source, header: Header, clusters: HostClusters, edge: Edge, request: Resize, *, below: bool
) -> Iterator[Edit]:
    """The clusters that are new have their entries; the edits that give them room."""
    how = request.preallocation
    bits, old = header.cluster_bits, header.disk_size
    first, end = ceil_div(old, header.cluster_size), ceil_div(request.size, header.cluster_size)
    raw = bool(header.data_file and header.autoclear_features & layout.AUTOCLEAR_DATA_FILE_RAW)
    if how == "off" and not raw:
        if below:
            edge.fill(first, end, Filling(0 if header.extended_l2 else layout.ZERO, 0, ZEROS))
        return
    unsaid = header.crypt_method != layout.CRYPT_NONE
    if unsaid and header.version < 3:
        raise FormatError("What is preallocated in an encrypted image of version 2 would not read as zeros",
                          kind=ErrorKind.UNSUPPORTED)  # fmt: skip
    flag = layout.COPIED
    bitmap = 0
    if header.extended_l2:
        bitmap = ALLOCATED if raw or (below and how != "metadata") else ZEROS if below else 0
    elif unsaid or (below and how == "metadata"):
        flag |= layout.ZERO
    if header.data_file:
        if end > first:
            edge.fill(first, end, Filling(flag, 1 << bits, bitmap))
        if how in ("falloc", "full"):
            yield Reserve(old, request.size - old, how, 1)
        return
    taken = int(bool(old & header.cluster_size - 1) and zeros_of_its_own(header, edge, request))
    if end - first + taken <= 0:
        return
    base = clusters.append(end - first + taken)
    if taken:
        entry, parts = entry_of(header, edge.table, edge.at)
        if entry & layout.OFFSET_MASK:
            clusters.refer((entry & layout.OFFSET_MASK) >> bits, 1, -1)
        set_entry(header, edge.table, edge.at, flag | base, parts)
    if end > first:
        edge.fill(first, end, Filling(flag + base - (first - taken << bits), 1 << bits, bitmap))
    length = end - first + taken << bits
    if base < source.size:  # a device, or a file that is longer than all that its refcounts count
        yield Punch(base, min(length, source.size - base))
    if how in ("falloc", "full"):
        yield Reserve(base, length, how)
    if taken:  # its entry is in sight already
        yield Barrier()


def zeros_of_its_own(header: Header, edge: Edge, request: Resize) -> bool:
    """Whether the cluster in which the disk ends has no place that holds content, so that it can get one.

    Raises FormatError (REFUSED) where it is the backing image's: its content is the caller's to write first.
    """
    entry, _ = entry_of(header, edge.table, edge.at)
    if entry & layout.COMPRESSED:
        return False
    if header.extended_l2:  # parts that are below's remain so
        return not entry & layout.OFFSET_MASK
    if not entry and reaches(header, request, header.disk_size & -header.cluster_size):
        raise FormatError("Failed to zero out new clusters: Operation not supported", kind=ErrorKind.REFUSED)
    return not entry & layout.OFFSET_MASK or bool(entry & layout.ZERO)


def cleared_tail(
    image: Image, header: Header, clusters: HostClusters, edge: Edge, size: int, *, copying: bool, below: bool = False
) -> Iterator[Edit]:
    """Of the cluster that the end `size` lies in, what is past the end reads as zeros.

    With `copying` also where a snapshot shares the cluster. What is encoded or encrypted cannot be changed without its
    content: that is the caller's. Raises FormatError (REFUSED) where a backing image shows in it.
    """
    used = size & header.cluster_size - 1
    if not used:
        return
    entry, bitmap = entry_of(header, edge.table, edge.at)
    if entry & layout.COMPRESSED:
        return
    offset = entry & layout.OFFSET_MASK
    placed = bool(offset) or bool(header.data_file and entry & layout.COPIED)
    if header.extended_l2:
        unit = header.cluster_size // layout.SUBCLUSTERS
        within = used // unit
        states = bitmap >> within & (1 | 1 << layout.SUBCLUSTERS)
        kept = (1 << ceil_div(used, unit)) - 1
        bitmap &= kept | kept << layout.SUBCLUSTERS
        if below:
            bitmap |= (ALLOCATED & ~kept) << layout.SUBCLUSTERS
        set_entry(header, edge.table, edge.at, entry, bitmap)
        hole, data = used % unit and not states, states == 1
    else:
        hole, data = not placed and not entry & layout.ZERO, placed and not entry & layout.ZERO
    if below and hole:
        raise FormatError("Failed to zero out new clusters: Operation not supported", kind=ErrorKind.REFUSED)
    if not data or header.crypt_method != layout.CRYPT_NONE or header.data_file:
        return
    content = image.main.read(offset, header.cluster_size, pad=True)
    if not any(content[used:]):
        return
    if clusters.ones(offset >> header.cluster_bits, 1):
        yield Put(offset + used, bytes(header.cluster_size - used))
    elif copying:
        clusters.refer(offset >> header.cluster_bits, 1, -1)
        place = clusters.take(1)
        set_entry(header, edge.table, edge.at, place | layout.COPIED, bitmap)
        yield Put(place, content[:used].ljust(header.cluster_size, b"\0"))
