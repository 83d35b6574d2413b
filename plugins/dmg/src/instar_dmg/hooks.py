"""The hooks of the plugin: each hands over to the module that does the work."""

from __future__ import annotations

from instar_core.hookspecs import hookimpl
from instar_core.types import Match
from instar_dmg import layout
from instar_dmg.info import info

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    from instar_core.source import Image
    from instar_core.types import Extent, Finding, ImageInfo, Layer, ProbeView, Span, Tally


@hookimpl
def instar_probe(view: ProbeView) -> Match | None:
    """The trailer at the end of the file, or the marks of an encrypted image, which info refuses."""
    if view.head.startswith(layout.ENCRYPTED_HEAD) or view.tail.endswith(layout.ENCRYPTED_TAIL):
        return Match("dmg", detail="encrypted")
    if view.tail[-layout.KOLY.size :].startswith(layout.KOLY_MAGIC) and len(view.tail) >= layout.KOLY.size:
        return Match("dmg")
    return None


@hookimpl
def instar_info(image: Image) -> ImageInfo:
    """See instar_dmg.info."""
    return info(image)


@hookimpl
def instar_map(image: Image, layer: Layer, span: Span) -> Iterator[Extent]:
    """See instar_dmg.map."""
    from instar_dmg.map import extents

    return extents(image, layer, span)


@hookimpl
def instar_check(image: Image) -> Iterator[Finding | Tally]:
    """See instar_dmg.check."""
    from instar_dmg.check import findings

    return findings(image)


@hookimpl
def instar_decode(params: Mapping[str, Any], stored: bytes) -> bytes:
    """See instar_dmg.decode."""
    from instar_dmg.decode import decode

    return decode(params, stored)
