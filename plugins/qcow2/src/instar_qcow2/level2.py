"""What existing L1 and L2 tables refer to, in runs. Source: docs/interop/qcow2.txt of QEMU, "Cluster mapping"."""

from __future__ import annotations

import sys
from itertools import compress

from instar_core.errors import ErrorKind, FormatError
from instar_core.lightarray import array
from instar_core.source import arithmetic_runs, join
from instar_qcow2 import layout, limits
from instar_qcow2.tablescan import equal_runs

UNSIGNED = (1 << 64) - 1
UNCOPIED = bytes([byte & 0x7F for byte in range(256)])

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from instar_core.source import Source
    from instar_qcow2.header import Header
    from instar_qcow2.hostclusters import HostClusters


def read_l1(source: Source, header: Header, offset: int, size: int) -> Sequence[int]:
    """The L2 table offset of each entry of an L1 table, 0 where there is none.

    Raises FormatError for a table that is too large or not aligned, entries that are not, and more tables than the
    file has clusters.
    """
    if 8 * size > limits.L1_TABLE:
        raise FormatError("L1 table too large", kind=ErrorKind.LIMIT, offset=offset)
    if offset & header.cluster_size - 1:
        raise FormatError("L1 table offset invalid", kind=ErrorKind.CORRUPT, offset=offset)
    entries = source.table(8, offset, size, pad=True)
    tables = [entry & layout.OFFSET_MASK for entry in entries]
    if any(table & header.cluster_size - 1 for table in tables):
        raise FormatError("An L2 table is not cluster aligned", kind=ErrorKind.CORRUPT, offset=offset)
    if size - tables.count(0) > (source.size >> header.cluster_bits) + 1:
        raise FormatError("An L1 table names more L2 tables than the file holds", kind=ErrorKind.CORRUPT, offset=offset)
    return tables


def has_compressed(source: Source, header: Header, offset: int, size: int) -> bool:
    """Whether an L1 table at `offset` with `size` entries leads to any compressed cluster."""
    width = header.l2_entry_size
    mask = int.from_bytes((layout.COMPRESSED << 8 * width - 64).to_bytes(width, "big") * header.l2_entries, "big")
    for _, _, entry in equal_runs(source, offset, size):
        table = source.read(entry & layout.OFFSET_MASK & -header.cluster_size, header.cluster_size, pad=True)
        if int.from_bytes(table, "big") & mask:
            return True
    return False


def entry_runs(header: Header, data: bytes) -> Iterator[tuple[int, int, int, int]]:
    """(index, count, first entry, step) over an L2 table in memory, or a part of one; the step is a cluster or 0.

    Subcluster bitmaps are not looked at. Within a run, the flags of the entries are equal.
    """
    width = header.l2_entry_size
    shift = 64 if width == 16 else 0
    mask = (1 << 64) - 1 << shift
    pieces = arithmetic_runs(data, len(data) // width, width, header.cluster_size << shift, mask, "big")
    for index, count, first, step in join(pieces, header.cluster_size << shift):
        entry, by = first >> shift, step >> shift
        last = entry + by * (count - 1)
        if by and (entry & layout.COMPRESSED or (entry ^ last) & ~layout.OFFSET_MASK):
            for at in range(count):
                yield index + at, 1, entry + by * at, 0
        elif by and not entry & layout.OFFSET_MASK:  # no cluster, and then that at the second place of the file
            yield index, 1, entry, 0
            yield index + 1, count - 1, entry + by, by if count > 2 else 0
        else:
            yield index, count, entry, by


def stretches(header: Header, data: bytes) -> Iterator[tuple[int, int, int]]:
    """(index, count, first entry) of what an L2 table in memory refers to: clusters in a row, with equal flags.

    Compressed clusters stand alone, and entries that are 0 are left out; for flagging this is faster than entry_runs
    where neither the whole table is one run nor its entries are all over the place.
    """
    whole = _one_run(header, data)
    if whole:
        if whole[2]:
            yield whole
        return
    words = _words(header, data)
    size = header.cluster_size
    at = count = first = following = 0
    for index, entry in zip(compress(range(len(words)), words), filter(None, words), strict=True):
        if entry == following and index == at + count:
            count += 1
            following += size
            continue
        if count:
            yield at, count, first
        at, count, first = index, 1, entry
        following = entry + size if entry & layout.OFFSET_MASK and not entry & layout.COMPRESSED else 0
    if count:
        yield at, count, first


def _one_run(header: Header, data: bytes) -> tuple[int, int, int] | None:
    """(0, count, first entry) of an L2 table that is clusters in a row with equal flags, or 0 throughout."""
    index, count, entry, step = next(entry_runs(header, data))
    whole = count * header.l2_entry_size == len(data) and (step or not entry)
    return (index, count, entry) if whole else None


def _words(header: Header, data: bytes) -> array[int]:
    """The entries of an L2 table in memory, without the bitmaps of subclusters."""
    words = array("Q", data)[:: header.l2_entry_size // 8]
    if sys.byteorder == "little":
        words.byteswap()
    return words


def refer(header: Header, data: bytes, clusters: HostClusters, change: int) -> None:
    """Every host cluster that the L2 table `data` refers to is referred to once more, or once less."""
    for count, entry in rows(header, data):
        if entry & layout.COMPRESSED:
            clusters.refer_bytes(*compressed_place(header, entry), change)
        else:
            offset = data_offset(header, entry)
            if offset:
                clusters.refer(offset >> header.cluster_bits, count, change)


def rows(header: Header, data: bytes) -> Iterator[tuple[int, int]]:
    """(count, first entry) of what an L2 table in memory refers to: clusters in a row in the file, whatever lies
    between them in the table. Compressed clusters, and entries without a cluster, stand alone; 0 is left out."""
    whole = _one_run(header, data)
    if whole:
        if whole[2]:
            yield whole[1:]
        return
    words = array("Q", filter(None, _words(header, data)))
    size = header.cluster_size
    at = 0
    while at < len(words):
        entry, count = words[at], 1
        more = at + 1 < len(words) and words[at + 1] == entry + size
        if more and not entry & layout.COMPRESSED and entry & layout.OFFSET_MASK:
            count = _row(words, at, size)
        yield count, entry
        at += count


def _row(words: array[int], at: int, size: int) -> int:
    """How many words from this one on, two at least, are each by `size` more than the one before: by looking at ever
    more at once, and then at ever fewer."""
    first = words[at]
    most = min(len(words) - at, (UNSIGNED - first) // size + 1)
    count, step, growing = 2, 2, True
    while step:
        step = min(step, most - count)
        here = first + count * size
        if step and words[at + count : at + count + step] == array("Q", range(here, here + step * size, size)):
            count += step
            step *= 2 if growing else 1
        else:
            growing = False
            step //= 2
    return count


def flagged(header: Header, data: bytes, clusters: HostClusters) -> bytes:
    """The L2 table `data` with COPIED set exactly for the standard clusters whose refcount is 1."""
    width = header.l2_entry_size
    made: bytearray | None = None
    for index, count, entry in stretches(header, data):
        offset = 0 if entry & layout.COMPRESSED else data_offset(header, entry)
        if not offset:
            continue
        cluster = offset >> header.cluster_bits
        copied = entry >> 63
        one = clusters.ones(cluster, count)
        if one == copied:
            continue
        if made is None:
            made = bytearray(data)
        for at in range(count):
            wanted = one if one is not None else int(clusters[cluster + at] == 1)
            if wanted != copied:
                made[(index + at) * width] ^= 0x80
    return data if made is None else bytes(made)


def unflagged(header: Header, data: bytes) -> bytes:
    """The L2 table `data` with COPIED set nowhere."""
    flags = data[:: header.l2_entry_size]  # of each entry the highest byte, whose highest bit is COPIED
    kept = flags.translate(UNCOPIED)
    if kept == flags:
        return data
    made = bytearray(data)
    made[:: header.l2_entry_size] = kept
    return bytes(made)


def data_offset(header: Header, entry: int) -> int:
    """The host offset of a standard cluster, 0 where it has none."""
    offset = entry & layout.OFFSET_MASK
    if offset & header.cluster_size - 1:
        raise FormatError("A data cluster is not cluster aligned", kind=ErrorKind.CORRUPT, offset=offset)
    return offset


def compressed_place(header: Header, entry: int) -> tuple[int, int]:
    """(offset, length) in bytes of the sectors that hold a compressed cluster."""
    field = layout.compressed_field_bits(header.cluster_bits)
    offset = entry & (1 << field) - 1
    sectors = (entry & layout.COMPRESSED - 1) >> field
    start = offset & ~511
    return start, 512 * (sectors + 1)
