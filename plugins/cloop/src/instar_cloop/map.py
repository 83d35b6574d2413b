"""Where the blocks of a compressed loop image lie."""

from __future__ import annotations

from instar_cloop import layout, limits
from instar_cloop.header import offsets, read_header
from instar_core.errors import ErrorKind, FormatError
from instar_core.types import Extent, Kind, LayerKind

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from instar_core.source import Image
    from instar_core.types import Layer, Span


def extents(image: Image, layer: Layer, span: Span) -> Iterator[Extent]:
    """An extent for every block that the span touches, cut at its ends.

    Raises FormatError (CORRUPT) for a block of which the file has nothing.
    """
    if layer.kind != LayerKind.ACTIVE:
        raise FormatError("a cloop image has neither snapshots nor bitmaps", kind=ErrorKind.UNSUPPORTED)
    source = image.main
    header = read_header(source)
    size, end = header.block_size, span.start + span.length
    last = min(header.n_blocks, -(-end // size))
    most = 2 * size + limits.SLACK
    done = first = span.start // size
    for base, table in offsets(source, header, first, last):
        for number in range(len(table) - 1):
            # A stream ends by itself: what follows it, up to the next block, need not be read.
            stored = min(table[number + 1] - table[number], most, source.size - table[number])
            if stored <= 0:
                raise _missing(base + number)
            start = max(span.start, (base + number) * size)
            skip = start - (base + number) * size
            yield Extent(start, min(size - skip, end - start), Kind.DATA, 0, table[number], stored, 1, skip)
        done = base + len(table) - 1
    if done < last:
        raise _missing(done)


def _missing(block: int) -> FormatError:
    return FormatError(
        f"the file has nothing of block {block}",
        kind=ErrorKind.CORRUPT,
        offset=layout.OFFSETS + block * layout.ENTRY,
    )
