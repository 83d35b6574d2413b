"""The hooks of the cloop plugin. What only map, check or decoding need is imported by them."""

from __future__ import annotations

from instar_cloop import layout
from instar_cloop.header import offsets, read_header
from instar_core.hookspecs import hookimpl
from instar_core.types import Coding, ImageInfo, Match

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    from instar_core.source import Image
    from instar_core.types import Extent, Finding, Layer, ProbeView, Span, Tally


@hookimpl
def instar_probe(view: ProbeView) -> Match | None:
    """The preamble: a shell script that anybody could have written, so not quite certain."""
    return Match("cloop", 90) if view.head.startswith(layout.PREAMBLE) else None


@hookimpl
def instar_info(image: Image) -> ImageInfo:
    """The image's facts; qemu-img tells no more than the size of the disk. The table of offsets is sound."""
    header = read_header(image.main)
    for _ in offsets(image.main, header, 0, header.n_blocks):
        pass
    return ImageInfo(
        format="cloop",
        virtual_size=header.n_blocks * header.block_size,
        codings=(Coding("cloop", header.block_size, params={"size": header.block_size}),),
        dirty=None,
        partial=False,
        extra={"block-size": header.block_size, "blocks": header.n_blocks},
    )


@hookimpl
def instar_map(image: Image, layer: Layer, span: Span) -> Iterator[Extent]:
    """See instar_cloop.map."""
    from instar_cloop.map import extents

    return extents(image, layer, span)


@hookimpl
def instar_check(image: Image) -> Iterator[Finding | Tally]:
    """See instar_cloop.check."""
    from instar_cloop.check import findings

    return findings(image)


@hookimpl
def instar_decode(params: Mapping[str, Any], stored: bytes) -> bytes:
    """See instar_cloop.decode."""
    from instar_cloop.decode import decode

    return decode(params, stored)
