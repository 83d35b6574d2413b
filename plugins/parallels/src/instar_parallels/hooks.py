"""The hooks of the Parallels plugin. What only map, check or write need is imported by them."""

from __future__ import annotations

from instar_core.hookspecs import hookimpl
from instar_core.types import ImageInfo, Match
from instar_parallels.info import describe
from instar_parallels.layout import EXT_MAGIC, OLD_MAGIC, VERSION

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from instar_core.source import Image
    from instar_core.types import Edit, Extent, Finding, Geometry, Layer, ProbeView, Run, Span, Tally, WriteRequest


@hookimpl
def instar_probe(view: ProbeView) -> Match | None:
    """A file with either magic and the one version that there is."""
    if view.head[:16] not in (OLD_MAGIC, EXT_MAGIC) or view.head[16:20] != VERSION.to_bytes(4, "little"):
        return None
    return Match("parallels")


@hookimpl
def instar_info(image: Image) -> ImageInfo:
    """The image's facts."""
    return describe(image.main)


@hookimpl
def instar_map(image: Image, layer: Layer, span: Span) -> Iterator[Extent]:
    """The extents of the active layer or of a bitmap."""
    from instar_parallels.map import extents

    return extents(image, layer, span)


@hookimpl
def instar_check(image: Image) -> Iterator[Finding | Tally]:
    """What is wrong with the image's structure."""
    from instar_parallels.check import findings

    return findings(image)


@hookimpl
def instar_write(image: Image | None, request: WriteRequest, runs: Iterable[Run]) -> Iterator[Geometry | Edit]:
    """A new image, or a change of one that is there."""
    from instar_core.errors import ErrorKind, FormatError
    from instar_core.types import Create, Repair, Resize, Update

    if isinstance(request, Create):
        from instar_parallels.write import edits

        return edits(request, runs)
    if isinstance(request, Repair) and image is not None:
        from instar_parallels.repair import mending

        return mending(image, request)
    if isinstance(request, Update) and image is not None:
        from instar_parallels.update import updated

        return updated(image, request, runs)
    if isinstance(request, Resize) and image is not None:
        from instar_parallels.resize import resized

        return resized(image, request)
    raise FormatError("Parallels images have no such change", kind=ErrorKind.UNSUPPORTED)
