"""The hooks of the VHD plugin. What only map, check or write need is imported by them."""

from __future__ import annotations

from instar_core.hookspecs import hookimpl
from instar_core.types import ImageInfo, Match
from instar_vpc.info import describe
from instar_vpc.layout import COOKIE, FOOTER, OLD_FOOTER
from instar_vpc.opening import open_disk

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from instar_core.source import Image
    from instar_core.types import Edit, Extent, Finding, Geometry, Layer, ProbeView, Run, Span, Tally, WriteRequest


@hookimpl
def instar_probe(view: ProbeView) -> Match | None:
    """By the cookie of a footer: in front where the disk is not fixed, and at the end of every file.

    qemu looks in front only, so it takes a fixed disk for raw; such a match is the less certain one.
    """
    if view.head.startswith(COOKIE):
        return Match("vpc", detail="dynamic")
    for length in (FOOTER.size, OLD_FOOTER):
        place = len(view.tail) - length
        if place >= 0 and view.tail.startswith(COOKIE, place):
            return Match("vpc", 90, "footer")
    return None


@hookimpl
def instar_info(image: Image) -> ImageInfo:
    """The image's facts, from footer, header and the extremes of the block allocation table."""
    return describe(image.main, open_disk(image))


@hookimpl
def instar_map(image: Image, layer: Layer, span: Span) -> Iterator[Extent]:
    """The extents of the active layer; there is no other."""
    from instar_vpc.map import extents

    return extents(image, layer, span)


@hookimpl
def instar_check(image: Image) -> Iterator[Finding | Tally]:
    """What is wrong with the image's structure."""
    from instar_vpc.check import findings

    return findings(image)


@hookimpl
def instar_write(image: Image | None, request: WriteRequest, runs: Iterable[Run]) -> Iterator[Geometry | Edit]:
    """A new image, dynamic, differencing or fixed, or the repair of one."""
    from instar_vpc.write import edits

    return edits(image, request, runs)
