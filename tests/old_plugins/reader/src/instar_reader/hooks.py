"""Blocks of 4 KiB, a table of little-endian numbers of blocks (0: nothing), and a footer at the end of the file.

The footer is 512 bytes: magic, place of the table, its entries. The disk is as long as the table is.
"""

from struct import Struct

from instar_core.errors import ErrorKind, FormatError
from instar_core.hookspecs import hookimpl
from instar_core.types import Extent, Finding, Flag, ImageInfo, Kind, Match, Severity, Tally

MAGIC, FOOTER, BLOCK, MOST = b"READER!\n", Struct("<8sQI"), 4096, 1 << 20


def footer(image):
    if image.main.size < 512:
        raise FormatError("there is no room for a footer", kind=ErrorKind.TRUNCATED, offset=0)
    magic, place, count = image.main.unpack(FOOTER, image.main.size - 512)
    if magic != MAGIC or count > MOST:
        raise FormatError("not the footer of a reader disk", offset=image.main.size - 512)
    first = (image.options.get("first") or 0) // BLOCK
    return place + 4 * min(first, count), max(0, count - first)


@hookimpl
def instar_probe(view):
    return Match("reader", 90) if view.tail[-512:].startswith(MAGIC) else None


@hookimpl
def instar_info(image):
    _, count = footer(image)
    return ImageInfo(format="reader", virtual_size=count * BLOCK, partial=False, details={"blocks": count})


@hookimpl
def instar_map(span, image):
    place, _ = footer(image)
    first, end = span.start // BLOCK, span.start + span.length
    count = -(-end // BLOCK) - first
    for index, length, entry, step in image.main.runs(place + 4 * first, count, 4, 1, big=False):
        together = bool(entry) == bool(step)  # blocks that follow one another, or nothing but zeros
        for number in range(1 if together else length):
            at = (first + index + number) * BLOCK
            start, stop = max(at, span.start), min(at + (length if together else 1) * BLOCK, end)
            if entry + number * step:
                place_of = (entry + number * step) * BLOCK + start - at
                yield Extent(start, stop - start, Kind.DATA, 0, place_of, flags=Flag.REFINE)
            else:
                yield Extent(start, stop - start, Kind.ZERO)


@hookimpl
def instar_check(image):
    place, count = footer(image)
    table = image.main.table(4, place, count, big=False)
    for number, entry in enumerate(table):
        if (entry + 1) * BLOCK > image.main.size:
            yield Finding(Severity.CORRUPTION, f"block {number} lies outside the file", place + 4 * number)
    yield Tally(count, count - table.count(0))
