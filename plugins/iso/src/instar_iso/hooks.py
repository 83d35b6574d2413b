"""The hooks of the ISO 9660 plugin."""

from __future__ import annotations

from instar_core.errors import ErrorKind, FormatError
from instar_core.hookspecs import hookimpl
from instar_core.types import Extent, Flag, ImageInfo, Kind, LayerKind, Match
from instar_iso.info import describe
from instar_iso.layout import FIRST, STANDARD

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from instar_core.source import Image
    from instar_core.types import Finding, Layer, ProbeView, Span, Tally


@hookimpl
def instar_probe(view: ProbeView) -> Match | None:
    """By the standard identifier of the first volume descriptor."""
    return Match("iso") if view.head.startswith(STANDARD, FIRST + 1) else None


@hookimpl
def instar_info(image: Image) -> ImageInfo:
    """The disk is as long as the file; the descriptors' facts come with it."""
    return describe(image.main)


@hookimpl
def instar_map(image: Image, layer: Layer, span: Span) -> Iterator[Extent]:
    """Everything is data at its own place, as in a raw disk; holes of the file are found by the host."""
    if layer.kind != LayerKind.ACTIVE:
        raise FormatError("an ISO 9660 volume has neither snapshots nor bitmaps", kind=ErrorKind.UNSUPPORTED)
    inside = max(0, min(span.length, image.main.size - span.start))
    if inside:
        yield Extent(span.start, inside, Kind.DATA, 0, span.start, flags=Flag.HOLES)
    if inside < span.length:
        yield Extent(span.start + inside, span.length - inside, Kind.ZERO, 0, span.start + inside)


@hookimpl
def instar_check(image: Image) -> Iterator[Finding | Tally]:
    """What is wrong with the volume's structure."""
    from instar_iso.check import findings

    return findings(image)
