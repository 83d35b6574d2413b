"""The hooks of the VDI plugin. What only map, check or write need is imported by them."""

from __future__ import annotations

from instar_core.hookspecs import hookimpl
from instar_core.types import ImageInfo, Match
from instar_vdi.info import describe
from instar_vdi.layout import SIGNATURE, SIGNATURE_AT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from instar_core.source import Image
    from instar_core.types import Edit, Extent, Finding, Geometry, Layer, ProbeView, Run, Span, Tally, WriteRequest

MAGIC = SIGNATURE.to_bytes(4, "little")


@hookimpl
def instar_probe(view: ProbeView) -> Match | None:
    """A file with the signature behind the text at its start."""
    return Match("vdi") if view.head[SIGNATURE_AT : SIGNATURE_AT + 4] == MAGIC else None


@hookimpl
def instar_info(image: Image) -> ImageInfo:
    """The image's facts."""
    return describe(image.main)


@hookimpl
def instar_map(image: Image, layer: Layer, span: Span) -> Iterator[Extent]:
    """The extents of the active layer; there is no other."""
    from instar_vdi.map import extents

    return extents(image, layer, span)


@hookimpl
def instar_check(image: Image) -> Iterator[Finding | Tally]:
    """What is wrong with the image's structure."""
    from instar_vdi.check import findings

    return findings(image)


@hookimpl
def instar_write(image: Image | None, request: WriteRequest, runs: Iterable[Run]) -> Iterator[Geometry | Edit]:
    """A new image, dynamic or static, or a change of one that is there."""
    from instar_core.errors import ErrorKind, FormatError
    from instar_core.types import Create, Repair, Resize, Update

    if isinstance(request, Create):
        from instar_vdi.write import edits

        return edits(request, runs)
    if isinstance(request, Repair) and image is not None:
        from instar_vdi.repair import mending

        return mending(image, request)
    if isinstance(request, Update) and image is not None:
        from instar_vdi.update import updated

        return updated(image, request, runs)
    if isinstance(request, Resize) and image is not None:
        from instar_vdi.resize import resized

        return resized(image, request)
    raise FormatError("VDI images have no such change", kind=ErrorKind.UNSUPPORTED)
