"""map: where the content of a disk lies."""

from __future__ import annotations

from instar_core import chain as chains
from instar_core import merge
from instar_core.errors import ErrorKind, FormatError
from instar_core.results import MapRange
from instar_core.settings import DEFAULTS
from instar_core.types import NOWHERE, Kind

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    from instar_core.chain import Member
    from instar_core.settings import Settings


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
    top = chains.open_chain(path, settings, "map", format=format, options=open_options)
    for member in top.members():
        if member.info.blocked:
            top.close()
            raise FormatError(member.info.blocked, kind=ErrorKind.UNSUPPORTED, path=member.path)
    return _stream(top, start, length)


def _stream(top: Member, start: int, length: int | None) -> Iterator[MapRange]:
    with top:
        size = top.info.virtual_size
        stop = size if length is None else min(size, start + length)
        if start >= stop:
            yield MapRange(start, 0, 0, False, False, False, False, None)
            return
        yield from joined(ranges(top, start, stop - start))


def ranges(top: Member, start: int, length: int) -> Iterator[MapRange]:
    """One range for each extent of the window."""
    for extent, member, depth, filled in merge.refined(merge.extents(top, start=start, length=length)):
        first, size, kind, device, offset, _, coding, _, _ = extent
        data = kind == Kind.DATA
        place = None if offset == NOWHERE or coding else offset
        whole = coding and member.info.codings[coding - 1].whole
        yield MapRange(
            first,
            size,
            depth,
            kind != Kind.ABSENT,
            not data or not filled,
            data,
            bool(whole),
            place,
            member.devices[device].path if place is not None else "",
        )


def joined(stream: Iterator[MapRange]) -> Iterator[MapRange]:
    """The same ranges with neighbours that continue one another made one."""
    held: MapRange | None = None
    for found in stream:
        if held is None:
            held = found
            continue
        if held[2:7] == found[2:7] and held.filename == found.filename:
            here, there = held.offset, found.offset
            if (here is None and there is None) or (here is not None and there == here + held.length):
                held = held._replace(length=held.length + found.length)
                continue
        yield held
        held = found
    if held is not None:
        yield held
