"""The hooks of the VHDX plugin. What only map, check or write need is imported by them."""

from __future__ import annotations

from instar_core.hookspecs import hookimpl
from instar_core.types import ImageInfo, Match
from instar_vhdx.info import describe
from instar_vhdx.layout import FILE_MAGIC
from instar_vhdx.opening import open_disk

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from instar_core.source import Image
    from instar_core.types import Edit, Extent, Finding, Geometry, Layer, ProbeView, Run, Span, Tally, WriteRequest


@hookimpl
def instar_probe(view: ProbeView) -> Match | None:
    """A VHDX file by its signature."""
    return Match("vhdx") if view.head.startswith(FILE_MAGIC) else None


@hookimpl
def instar_info(image: Image) -> ImageInfo:
    """The image's facts, as its log leaves them."""
    return describe(open_disk(image))


@hookimpl
def instar_map(image: Image, layer: Layer, span: Span) -> Iterator[Extent]:
    """The extents of the active layer; there is no other."""
    from instar_vhdx.map import extents

    return extents(image, layer, span)


@hookimpl
def instar_check(image: Image) -> Iterator[Finding | Tally]:
    """What is wrong with the image's structure."""
    from instar_vhdx.check import findings

    return findings(image)


@hookimpl
def instar_write(image: Image | None, request: WriteRequest, runs: Iterable[Run]) -> Iterator[Geometry | Edit]:
    """A new image, fixed, dynamic or differencing; or a repair, which replays the log."""
    from instar_vhdx.write import edits

    return edits(image, request, runs)
