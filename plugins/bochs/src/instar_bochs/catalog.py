"""What catalog and bitmaps say, in runs. Source: Bochs Developers Guide, "Harddisk Images based on redologs"."""

from __future__ import annotations

from instar_bochs import layout, limits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from instar_bochs.header import Header
    from instar_core.source import Source


def entries(source: Source, header: Header, first: int, last: int) -> Iterator[tuple[int, int, int, int]]:
    """(index, count, entry, step) of the catalog's entries from `first` up to `last`; the step is 0 or 1.

    An entry without an extent stands in no run with others. Raises FormatError (TRUNCATED) where the file ends first.
    """
    for start in range(first, last, limits.PIECE):
        count = min(limits.PIECE, last - start)
        where = header.header + layout.ENTRY * start
        for index, some, entry, step in source.runs(where, count, layout.ENTRY, 1, big=False):
            if step and entry + some - 1 == layout.UNALLOCATED:
                yield start + index, some - 1, entry, step
                yield start + index + some - 1, 1, layout.UNALLOCATED, 0
            else:
                yield start + index, some, entry, step


def stretches(bitmap: bytes, sectors: int) -> Iterator[tuple[int, int, bool]]:
    """(first, count, set) of the first so many bits of a bitmap, from the least significant bit of a byte on."""
    bits = int.from_bytes(bitmap, "little") & (1 << sectors) - 1
    if bits in (0, (1 << sectors) - 1):
        yield 0, sectors, bool(bits)
        return
    text = f"{bits:0{sectors}b}"[::-1]
    at = 0
    while at < sectors:
        this = text[at]
        end = text.find("0" if this == "1" else "1", at)
        end = sectors if end < 0 else end
        yield at, end - at, this == "1"
        at = end
