"""Walking the L1 and L2 tables as arithmetic runs, so that a walk costs what the image's fragmentation costs.

What lies past the end of the file reads as zeros, as in qemu.
"""

from __future__ import annotations

from instar_core.errors import ErrorKind, FormatError
from instar_core.types import NOWHERE, Kind
from instar_qcow import layout, limits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from instar_core.source import Source
    from instar_qcow.header import Header

    Tables = tuple[int, int, int]
    """First L2 table's number, how many, and where the first lies (0: none of them exists); they follow one another."""
    Clusters = tuple[int, int, int, int, int]
    """First cluster, how many, their Kind, where the first lies, bytes stored (0 unless compressed)."""

BROKEN = -1
"""In place of a Kind: L2 entries that make no sense. Their place is that of the first of them."""

END = 1 << 62
"""Nothing that an image names may lie past this: no file is that large."""


def tables(source: Source, header: Header, first: int, end: int) -> Iterator[Tables]:
    """Where the L2 tables `first` to `end` (exclusive) lie, in order and without a gap."""
    size = header.l2_bytes
    for at in range(first, end, limits.L1_PIECE):
        count = min(limits.L1_PIECE, end - at)
        place = header.l1_table_offset + 8 * at
        if place >= source.size:
            yield at, end - at, 0
            return
        for index, length, entry, step in source.runs(place, count, 8, size, pad=True):
            # 0 is no place: what follows it may look like a run that it begins.
            alone = 1 if step and not entry else 0
            if alone:
                yield at + index, 1, 0
            if step or length == 1 or not entry:
                yield at + index + alone, length - alone, entry + alone * step
            else:
                for each in range(length):
                    yield at + index + each, 1, entry


def clusters(source: Source, header: Header, first: int, end: int) -> Iterator[Clusters]:
    """The state of clusters `first` to `end` (exclusive), in order and without a gap.

    Raises FormatError (CORRUPT) for entries that make no sense.
    """
    bits = header.l2_bits
    for table, count, offset in tables(source, header, first >> bits, -(-end >> bits)):
        low = max(first, table << bits)
        high = min(end, table + count << bits)
        if offset > END:
            raise FormatError(f"the L2 table at {offset:#x} lies where no file reaches", kind=ErrorKind.CORRUPT)
        for at in range(low, high, limits.L2_PIECE):
            here = offset + 8 * (at - (table << bits))
            if not offset or here >= source.size:
                yield at, high - at, Kind.ABSENT, NOWHERE, 0
                break
            for found in entries(source, header, at, min(limits.L2_PIECE, high - at), here):
                if found[2] == BROKEN:
                    raise FormatError(
                        f"the L2 entry of cluster {found[0]} makes no sense", kind=ErrorKind.CORRUPT, offset=found[3]
                    )
                yield found


def entries(source: Source, header: Header, first: int, count: int, offset: int) -> Iterator[Clusters]:
    """What `count` L2 entries at `offset` say, of which the first is that of cluster `first`."""
    for index, length, entry, step in source.runs(offset, count, 8, header.cluster_size, pad=True):
        cluster, where = first + index, offset + 8 * index
        if not entry and not step:
            yield cluster, length, Kind.ABSENT, NOWHERE, 0
            continue
        # 0 is no place, so of a run that ascends from it only the first is unallocated.
        alone = 0 if entry else 1
        if alone:
            yield cluster, 1, Kind.ABSENT, NOWHERE, 0
        begin, last = entry + alone * step, entry + step * (length - 1)
        if (step or length == 1) and not (begin | last) & layout.COMPRESSED:
            sound = not begin % layout.SECTOR and last <= END
            yield cluster + alone, length - alone, Kind.DATA if sound else BROKEN, begin if sound else where, 0
            continue
        for number in range(alone, length):
            yield _single(header, cluster + number, entry + step * number, where + 8 * number)


def _single(header: Header, cluster: int, entry: int, where: int) -> Clusters:
    if entry & layout.COMPRESSED:
        shift = layout.length_shift(header.cluster_bits)
        place, stored = entry & (1 << shift) - 1, entry >> shift & header.cluster_size - 1
        return (cluster, 1, Kind.DATA, place, stored) if stored else (cluster, 1, BROKEN, where, 0)
    if entry % layout.SECTOR or entry > END:
        return cluster, 1, BROKEN, where, 0
    return cluster, 1, Kind.DATA, entry, 0
