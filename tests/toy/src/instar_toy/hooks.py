"""A header, a table with the place of every block (0: zeros), and the blocks.

The header is big-endian: magic, virtual size in bytes, number of blocks.
"""

from __future__ import annotations

from struct import Struct

from instar_core.errors import ErrorKind, FormatError
from instar_core.hookspecs import hookimpl
from instar_core.types import Barrier, Copy, Create, Extent, Finding, Geometry, ImageInfo
from instar_core.types import Kind, Match, Put, Severity, Tally, Truncate

MAGIC, HEADER, BLOCK, MOST = b"TOYDISK\n", Struct(">8sQI"), 64 << 10, 1 << 18
START = HEADER.size


def _table(image):
    magic, size, count = image.main.unpack(HEADER, 0)
    if magic != MAGIC or count > MOST or count != -(-size // BLOCK):
        raise FormatError("not the header of a toy disk", offset=0)
    return size, image.main.table(8, START, count)


@hookimpl
def instar_probe(view):
    return Match("toy") if view.head.startswith(MAGIC) else None


@hookimpl
def instar_info(image):
    return ImageInfo("toy", _table(image)[0], BLOCK)


@hookimpl
def instar_map(image, span):
    table, at, end = _table(image)[1], span.start, span.start + span.length
    while at < end:
        place, skip = table[at // BLOCK], at % BLOCK
        length = min(BLOCK - skip, end - at)
        yield Extent(at, length, Kind.DATA, 0, place + skip) if place else Extent(at, length, Kind.ZERO)
        at += length


@hookimpl
def instar_check(image):
    seen = {0}
    table = _table(image)[1]
    for number, place in enumerate(table):
        if place % BLOCK or (place in seen and place) or place >= image.main.size:
            yield Finding(Severity.CORRUPTION, f"block {number} cannot lie at {place}", START + 8 * number)
        seen.add(place)
    yield Tally(len(table), len(seen) - 1)


@hookimpl
def instar_write(request, runs):
    count = -(-request.size // BLOCK)
    if not isinstance(request, Create) or count > MOST:
        raise FormatError("toy disks end at 16 GiB and are only made anew", kind=ErrorKind.UNSUPPORTED)
    first = end = -(-(START + 8 * count) // BLOCK) * BLOCK
    yield Geometry(BLOCK, request.size, overhead=first)
    table = [0] * count
    for run in runs:
        for number in range(run.start // BLOCK, -(-(run.start + run.length) // BLOCK)):
            table[number] = end + number * BLOCK - run.start
        yield Copy(run.start, end, run.length)
        end += -(-run.length // BLOCK) * BLOCK
    yield Truncate(end)
    yield Put(START, Struct(f">{count}Q").pack(*table))
    yield Barrier()
    yield Put(0, HEADER.pack(MAGIC, request.size, count))
