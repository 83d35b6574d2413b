"""Another width of the refcounts: a whole new structure beside the old one, and one write of the header that switches.

Source: docs/interop/qcow2.txt of QEMU, "Host cluster management".
"""

from __future__ import annotations

from array import array

from instar_core.errors import ErrorKind, FormatError
from instar_core.types import Barrier, Punch, Truncate
from instar_qcow2 import limits
from instar_qcow2.counters import encoded
from instar_qcow2.hostclusters import HostClusters
from instar_qcow2.rehead import rewriting
from instar_qcow2.shadow import KEPT, big_endian, put_pieces
from instar_qcow2.sizes import ceil_div, refcounts_per_block

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from instar_core.source import Source
    from instar_core.types import Edit
    from instar_qcow2.header import Header

STEP = 1 << 16
"""Refcounts that are looked at together."""


def change_width(source: Source, header: Header, bits: int) -> Iterator[Edit]:
    """Refcounts have so many bits. Raises FormatError in qemu's words, before anything else, where one does not fit."""
    clusters = HostClusters(source, header)
    fits(header, clusters, bits)
    cluster_bits = header.cluster_bits
    for place in [place for place in clusters.places if place]:
        clusters.refer(place >> cluster_bits, 1, -1)
    clusters.refer(header.refcount_table_offset >> cluster_bits, header.refcount_table_clusters, -1)
    table, size, blocks = placed(header, clusters, bits)
    end = clusters.end << cluster_bits
    if end > source.size:
        yield Truncate(end)
    per_block = refcounts_per_block(cluster_bits, bits.bit_length() - 1)
    for number, place in enumerate(blocks):
        part = clusters.counts(number * per_block, per_block)
        yield from put_pieces(place, encoded(part, bits))
    yield from put_pieces(table, big_endian(array("Q", blocks)).ljust(size << cluster_bits, b"\0"))
    told = {
        "refcount_order": bits.bit_length() - 1,
        "refcount_table_offset": table,
        "refcount_table_clusters": size,
        "autoclear_features": header.autoclear_features & KEPT,
    }
    yield from rewriting(source, header, fields=told).edits()
    for offset, length in clusters.freed():
        yield Punch(offset, length)
    yield Barrier()


def placed(header: Header, clusters: HostClusters, bits: int) -> tuple[int, int, list[int]]:
    """(offset, clusters) of the new table, and the offsets of the new blocks, which count these clusters too."""
    per_block = refcounts_per_block(header.cluster_bits, bits.bit_length() - 1)
    blocks: list[int] = []
    table = size = 0
    while True:
        wanted = ceil_div(clusters.end, per_block)
        if len(blocks) < wanted:
            blocks.append(clusters.take(1))
            continue
        needed = ceil_div(8 * wanted, header.cluster_size)
        if needed <= size:
            return table, size, blocks
        if needed << header.cluster_bits > limits.REFCOUNT_TABLE:
            raise FormatError("File too large", kind=ErrorKind.LIMIT)
        if size:
            clusters.refer(table >> header.cluster_bits, size, -1)
        size = needed
        table = clusters.take(size)


def fits(header: Header, clusters: HostClusters, bits: int) -> None:
    """Raises FormatError for the first cluster whose refcount has more than so many bits."""
    most = (1 << bits) - 1
    if clusters.most <= most:
        return
    for first in range(0, clusters.end, STEP):
        part = clusters.counts(first, STEP)
        if max(part) > most:
            cluster = next(number for number, value in enumerate(part) if value > most)
            raise FormatError(
                f"Cannot decrease refcount entry width to {bits} bits: Cluster at offset "
                f"{first + cluster << header.cluster_bits:#x} has a refcount of {part[cluster]}",
                kind=ErrorKind.LIMIT,
            )
