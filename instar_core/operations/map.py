"""map: where the content of a disk lies."""

from __future__ import annotations

from itertools import chain, islice

from instar_core import chain as chains
from instar_core import columns, limits, mapranges, merge
from instar_core.errors import ErrorKind, FormatError, InstarError
from instar_core.mapranges import Look, Looks, Ranges
from instar_core.settings import DEFAULTS
from instar_core.types import NOWHERE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    from instar_core.chain import Member
    from instar_core.launch import Begun
    from instar_core.results import MapRange
    from instar_core.settings import Settings
    from instar_core.types import Extent

NOTHING = Look(0, False, False, False, False, False, "")
"""What an empty window looks like."""


def map_(
    path: str,
    *,
    format: str | None = None,
    start: int = 0,
    length: int | None = None,
    open_options: Mapping[str, Any] | None = None,
    settings: Settings = DEFAULTS,
) -> Iterator[MapRange]:
    """The ranges of the window, ascending, touching and covering it; neighbours that say the same are one.

    `start` and `length` are bytes of the virtual disk; what lies past its end is left out. An empty window gives one
    empty range, as qemu-img does. The image is open when this returns, and until the ranges are read or let go. Raises
    InstarError, also while the ranges are read. `open_options` are as in info.
    """
    return chain.from_iterable(batches(path, format, start, length, open_options, settings))


def batches(
    path: str,
    format: str | None,
    start: int,
    length: int | None,
    open_options: Mapping[str, Any] | None,
    settings: Settings,
    begun: Begun | None = None,
) -> Iterator[Ranges]:
    """The same ranges, many at a time. `begun` is what launch.begin made of the same path, settings and format for
    "map"."""
    top = chains.open_chain(path, settings, "map", format=format, options=open_options, begun=begun)
    for member in top.members():
        if member.info.blocked:
            top.close()
            raise FormatError(member.info.blocked, kind=ErrorKind.UNSUPPORTED, path=member.path)
    return _stream(top, start, length)


def _stream(top: Member, start: int, length: int | None) -> Iterator[Ranges]:
    with top:
        size = top.info.virtual_size
        stop = size if length is None else min(size, start + length)
        if start >= stop:
            yield Ranges([start], [0], [NOWHERE], [NOTHING], b"\1")
            return
        yield from mapranges.joined(unjoined(top, looks(top), start, stop - start))


def looks(top: Member) -> list[Looks]:
    """The looks that ranges of this chain have. Those of several windows can be joined if they share these."""
    return [Looks(member, depth) for depth, member in enumerate(top.members())]


def unjoined(top: Member, known: list[Looks], start: int, length: int) -> Iterator[Ranges]:
    """One range for each extent of the window. `known` are the chain's looks."""
    if top.backing is not None:
        yield from _looked_into(merge.extents(top, start=start, length=length), known)
        return
    for batch in top.session.columns(top.format, top.info, merge.ACTIVE, start, length):
        if batch.flags:
            yield from _looked_into(((extent, top, 0) for extent in columns.extents(batch)), known)
        else:
            yield mapranges.of_columns(batch, known[0])


def _looked_into(extents: Iterator[tuple[Extent, Member, int]], known: list[Looks]) -> Iterator[Ranges]:
    """One range for each extent, or for each part of one whose file has holes there."""
    rest = merge.refined(extents)
    failed = None
    while failed is None:
        some: list[tuple[Extent, Looks, bool]] = []
        try:
            for extent, _, depth, filled in islice(rest, limits.BATCH):
                some.append((extent, known[depth], filled))
        except InstarError as error:  # what was said before is told before
            failed = error
        if some:
            yield mapranges.of_extents(some)
        elif failed is None:
            return
    raise failed
