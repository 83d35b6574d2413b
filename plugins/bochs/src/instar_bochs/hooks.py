"""The hooks of the Bochs plugin. What only map or check need is imported by them."""

from __future__ import annotations

from instar_bochs import layout
from instar_bochs.header import known, read_header
from instar_core.hookspecs import hookimpl
from instar_core.types import ImageInfo, Match

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from instar_core.source import Image
    from instar_core.types import Extent, Finding, Layer, ProbeView, Span, Tally


@hookimpl
def instar_probe(view: ProbeView) -> Match | None:
    """A whole header of a growing disk, of a version that is known. Other redologs are no disks by themselves."""
    return Match("bochs") if len(view.head) >= layout.HEADER_SIZE and known(view.head) else None


@hookimpl
def instar_info(image: Image) -> ImageInfo:
    """The image's facts; qemu-img tells no more than the size of the disk. Where the file ends, content ends."""
    header = read_header(image.main)
    return ImageInfo(
        format="bochs",
        virtual_size=header.disk,
        dirty=None,
        partial=False,
        blocked=header.blocked,
        extra={
            "version": f"{header.version >> 16}.{header.version & 0xFFFF}",
            "extent-size": header.extent,
            "bitmap-size": header.bitmap,
            "catalog-entries": header.catalog,
        },
    )


@hookimpl
def instar_map(image: Image, layer: Layer, span: Span) -> Iterator[Extent]:
    """See instar_bochs.map."""
    from instar_bochs.map import extents

    return extents(image, layer, span)


@hookimpl
def instar_check(image: Image) -> Iterator[Finding | Tally]:
    """See instar_bochs.check."""
    from instar_bochs.check import findings

    return findings(image)
