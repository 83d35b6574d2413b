"""What dirty bitmaps say of a disk, as the runs that a writer merges into another bitmap."""

from __future__ import annotations

from instar_core.types import Kind, Layer, LayerKind, Run

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from instar_core.chain import Member
    from instar_core.types import Bitmap

IN_USE = "in-use"
"""Flag of a bitmap that was not stored at the end: nobody knows what it missed."""


def usable(bitmap: Bitmap) -> bool:
    """Whether the bitmap may be relied on."""
    return IN_USE not in bitmap.flags


def runs(member: Member, name: str) -> Iterator[Run]:
    """What is dirty in the image's own bitmap `name`, ascending. The session can do nothing else meanwhile."""
    layer = Layer(LayerKind.BITMAP, name)
    for extent in member.session.map(member.format, member.info, layer, 0, member.info.virtual_size):
        if extent.kind == Kind.DATA:
            yield Run(extent.start, extent.length)


def union(streams: Sequence[Iterable[Run]]) -> Iterator[Run]:
    """What is dirty in any of them, ascending, without overlaps."""
    if len(streams) == 1:
        yield from streams[0]
        return
    import heapq

    start = end = 0
    for run in heapq.merge(*streams):
        if run.start > end:
            if end > start:
                yield Run(start, end - start)
            start = run.start
        end = max(end, run.start + run.length)
    if end > start:
        yield Run(start, end - start)
