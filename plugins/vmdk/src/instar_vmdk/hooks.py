"""The hooks of the VMDK plugin. What only map, check or write need is imported by them."""

from __future__ import annotations

from instar_core.hookspecs import hookimpl
from instar_core.types import ImageInfo, Match
from instar_vmdk.info import describe
from instar_vmdk.layout import COWD_MAGIC, HOSTED_MAGIC, TEXT_MAGIC
from instar_vmdk.opening import open_disk

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from instar_core.source import Image
    from instar_core.types import Edit, Extent, Finding, Geometry, Layer, ProbeView, Run, Span, Tally, WriteRequest

VERSIONS = (b"version=1", b"version=2", b"version=3")


@hookimpl
def instar_probe(view: ProbeView) -> Match | None:
    """A sparse file by its magic; a descriptor by its first line, or by `version=` as first line that is no comment."""
    if view.head[:4] == HOSTED_MAGIC:
        return Match("vmdk", detail="sparse extent")
    if view.head[:4] == COWD_MAGIC:
        return Match("vmdk", detail="ESX sparse extent")
    if view.head.startswith(TEXT_MAGIC):
        return Match("vmdk", detail="descriptor")
    head = view.head
    while head:
        line, _, head = head.partition(b"\n")
        if line.startswith(b"#") or not line.strip(b" \r"):
            continue
        return Match("vmdk", 90, "descriptor without its title") if line.rstrip(b"\r") in VERSIONS else None
    return None


@hookimpl
def instar_info(image: Image) -> ImageInfo:
    """The image's facts; with device 0 alone, as far as its descriptor says them."""
    return describe(open_disk(image))


@hookimpl
def instar_map(image: Image, layer: Layer, span: Span) -> Iterator[Extent]:
    """The extents of the active layer; there is no other."""
    from instar_vmdk.map import extents

    return extents(image, layer, span)


@hookimpl
def instar_check(image: Image) -> Iterator[Finding | Tally]:
    """What is wrong with the image's structure."""
    from instar_vmdk.check import findings

    return findings(image)


@hookimpl
def instar_write(image: Image | None, request: WriteRequest, runs: Iterable[Run]) -> Iterator[Geometry | Edit]:
    """A new image of any of the five subformats."""
    from instar_vmdk.write import edits

    return edits(image, request, runs)
