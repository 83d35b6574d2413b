"""An image that holds nothing of its own any more, in two steps each of which one write of the header makes current.

First the L1 table is empty; all that only the old one needed is then free, and in the second step what is left moves
there, so that the file can end early. Source: docs/interop/qcow2.txt of QEMU, "Header" and "Host cluster management".
"""

from __future__ import annotations

from array import array
from struct import pack

from instar_core.errors import ErrorKind, FormatError
from instar_core.types import Barrier, Punch, Put, Truncate, Zero
from instar_qcow2 import layout, limits
from instar_qcow2.cycled_clusters import CycledClusters
from instar_qcow2.header import read_header
from instar_qcow2.level2 import read_l1
from instar_qcow2.metadata_places import MetadataPlaces
from instar_qcow2.shadow import big_endian, place, put_pieces
from instar_qcow2.sizes import ceil_div, refcount_clusters
from instar_qcow2.snapshot_edit import count_tables, refuse
from instar_qcow2.update import autoclear

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from instar_core.source import Image, Source
    from instar_core.types import Edit
    from instar_qcow2.header import Header

FIELDS = 40
"""Offset of l1_table_offset, refcount_table_offset and refcount_table_clusters: all in the first sector."""


def empty_image(image: Image) -> Iterator[Edit]:
    """The whole disk reads as the backing image, or as zeros; snapshots and bitmaps are as before.

    A stop at any point leaves the old content or none. Raises FormatError.
    """
    source = image.main
    header = read_header(source)
    refuse(header)
    if header.data_file and header.autoclear_features & layout.AUTOCLEAR_DATA_FILE_RAW:
        raise FormatError("An image whose data file is its disk cannot be emptied", kind=ErrorKind.UNSUPPORTED)
    clusters = CycledClusters(source, header)
    MetadataPlaces(source, header, clusters)
    if header.data_file:  # what the tables refer to is not counted
        for table in read_l1(source, header, header.l1_table_offset, header.l1_size):
            clusters.refer_bytes(table, header.cluster_size if table else 0, -1)
    else:
        count_tables(source, header, clusters, header.l1_table_offset, header.l1_size, -1)
    yield from autoclear(source, header)
    for _ in range(2):
        header = yield from moved(source, header, clusters)
        clusters.reuse()
    end = clusters.end << header.cluster_bits
    yield Truncate(end)
    for offset, length in clusters.freed():
        if offset < end:
            yield Punch(offset, length)
    if header.data_file:
        yield Punch(0, header.disk_size, 1)
    yield Barrier()


def moved(source: Source, header: Header, clusters: CycledClusters) -> Generator[Edit, None, Header]:
    """The L1 table is empty, and it, the refcount table and its blocks lie where nothing was; the header says so.

    Returns the header as it is then. L2 tables, and what they refer to, are the caller's to uncount before.
    """
    bits, size = header.cluster_bits, header.cluster_size
    before = clusters.end
    clusters.refer_bytes(header.l1_table_offset, 8 * header.l1_size, -1)
    clusters.refer(header.refcount_table_offset >> bits, header.refcount_table_clusters, -1)
    for number, old in enumerate(clusters.places):
        if old:
            clusters.refer(old >> bits, 1, -1)
            clusters.places[number] = 0
    length = ceil_div(8 * header.l1_size, size)
    room = clusters.used() + length
    while True:
        table_clusters = refcount_clusters(room, bits, header.refcount_order)[0]
        if table_clusters << bits > limits.REFCOUNT_TABLE:
            raise FormatError("File too large", kind=ErrorKind.LIMIT)
        table = clusters.take(table_clusters)
        place_blocks(clusters)
        l1_offset = place(clusters, header, 8 * header.l1_size)
        place_blocks(clusters)
        if max(number for number, at in enumerate(clusters.places) if at) < table_clusters * size // 8:
            break
        # Low clusters were not free: the places are given back, and those for a longer table are sought.
        clusters.refer(table >> bits, table_clusters, -1)
        clusters.refer_bytes(l1_offset, 8 * header.l1_size, -1)
        for number, old in enumerate(clusters.places):
            if old:
                clusters.refer(old >> bits, 1, -1)
                clusters.places[number] = 0
        room = clusters.end + table_clusters + length
    if clusters.end > before or clusters.end << bits > source.size:
        yield Truncate(clusters.end << bits)
    if length:
        yield Zero(l1_offset, length << bits)
    for number, at in enumerate(clusters.places):
        if at:
            yield Put(at, clusters.encode(number))
    clusters.dirty.clear()
    words = array("Q", clusters.places[: table_clusters * size // 8])
    yield from put_pieces(table, big_endian(words).ljust(table_clusters << bits, b"\0"))
    yield Barrier()
    yield Put(FIELDS, pack(">QQI", l1_offset, table, table_clusters))
    yield Barrier()
    return header._replace(
        l1_table_offset=l1_offset, refcount_table_offset=table, refcount_table_clusters=table_clusters
    )


def place_blocks(clusters: CycledClusters) -> None:
    """Every refcount block that counts something has a place, those that count the others too."""
    while missing := [n for n, at in enumerate(clusters.places) if not at and clusters.counting(n)]:
        for number in missing:
            clusters.places[number] = clusters.take(1)
