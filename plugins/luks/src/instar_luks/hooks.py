"""The hooks of the LUKS plugin. What only check and write need is imported by them."""

from __future__ import annotations

from instar_core.errors import ErrorKind, FormatError
from instar_core.hookspecs import hookimpl
from instar_core.luks1 import unlock as unlock1
from instar_core.luks1.layout import MAGIC, VERSION
from instar_core.types import Extent, ImageInfo, Kind, LayerKind, Match
from instar_luks import limits
from instar_luks.luks2 import unlock as unlock2
from instar_luks.luks2.metadata import Metadata
from instar_luks.volume import open_volume, virtual_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from instar_core.source import Image
    from instar_core.types import (
        Edit,
        Finding,
        Geometry,
        KeyPlan,
        Layer,
        ProbeView,
        Run,
        Span,
        Tally,
        WriteRequest,
    )


@hookimpl
def instar_probe(view: ProbeView) -> Match | None:
    """A LUKS volume of any version: info refuses those that cannot be read, so that none passes for raw."""
    if not view.head.startswith(MAGIC):
        return None
    version = int.from_bytes(view.head[6 : VERSION.size], "big")
    return Match("luks", 100, f"version {version}")


@hookimpl
def instar_info(image: Image) -> ImageInfo:
    """Algorithms, key slots and size; content is blocked until a key is given."""
    volume = open_volume(image)
    return ImageInfo(
        format="luks",
        virtual_size=virtual_size(image, volume),
        codings=(volume.coding,),
        encrypted=True,
        blocked="Parameter 'key-secret' is required for cipher",
        details=volume.details,
    )


@hookimpl
def instar_map(image: Image, layer: Layer, span: Span) -> Iterator[Extent]:
    """Everything is data, encrypted sector by sector, in order from the payload offset on."""
    if layer.kind != LayerKind.ACTIVE:
        raise FormatError("a LUKS volume has no snapshots and no bitmaps", kind=ErrorKind.UNSUPPORTED)
    payload = open_volume(image).offset
    at, end = span.start, span.start + span.length
    while at < end:
        # Cut at fixed places, so that the map of a window is the same as that part of the whole map.
        length = min(end - at, limits.EXTENT - at % limits.EXTENT)
        yield Extent(at, length, Kind.DATA, 0, payload + at, stored=length, coding=1)
        at += length


@hookimpl
def instar_unlock(image: Image) -> KeyPlan:
    """The active key slots with their key material, and how the volume key is recognised.

    Raises FormatError (LIMIT) where the header asks for more work than the limits allow.
    """
    volume = open_volume(image)
    if isinstance(volume.header, Metadata):
        return unlock2.plan(volume.source, volume.header)
    return unlock1.plan(volume.source, volume.header)


@hookimpl
def instar_check(image: Image) -> Iterator[Finding | Tally]:
    """What is wrong with the header and its key slots."""
    from instar_luks.check import findings

    return findings(image)


@hookimpl
def instar_seal(image: Image | None, request: WriteRequest) -> KeyPlan:
    """The key slot that a new volume, or a new passphrase, needs."""
    from instar_luks.write import order

    return order(image, request)


@hookimpl
def instar_write(image: Image | None, request: WriteRequest, runs: Iterable[Run]) -> Iterator[Geometry | Edit]:
    """A new volume, content or size changed, key slots more or less, or a damaged copy of a LUKS2 header made anew."""
    from instar_luks.write import edits

    return edits(image, request, runs)
