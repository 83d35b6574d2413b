"""The hooks of the plugin: each hands over to the module that does the work."""

from __future__ import annotations

from instar_core.hookspecs import hookimpl
from instar_core.types import Match
from instar_qcow import layout
from instar_qcow.info import info

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from instar_core.source import Image
    from instar_core.types import (
        Edit,
        Extent,
        Finding,
        Geometry,
        ImageInfo,
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
    """The magic with version 1; later versions are another format, qcow2."""
    if view.head[:8] == layout.MAGIC + layout.VERSION.to_bytes(4, "big"):
        return Match("qcow")
    return None


@hookimpl
def instar_info(image: Image) -> ImageInfo:
    """See instar_qcow.info."""
    return info(image)


@hookimpl
def instar_map(image: Image, layer: Layer, span: Span) -> Iterator[Extent]:
    """See instar_qcow.map."""
    from instar_qcow.map import extents

    return extents(image, layer, span)


@hookimpl
def instar_check(image: Image) -> Iterator[Finding | Tally]:
    """See instar_qcow.check."""
    from instar_qcow.check import findings

    return findings(image)


@hookimpl
def instar_write(image: Image | None, request: WriteRequest, runs: Iterable[Run]) -> Iterator[Geometry | Edit]:
    """A new image (see instar_qcow.write), or a change of one that is there."""
    from instar_core.types import Empty, Rebase, Resize, Update

    if image is not None:
        if isinstance(request, Update):
            from instar_qcow.update import updated

            return updated(image, request, runs)
        if isinstance(request, Rebase):
            from instar_qcow.change import rebased

            return rebased(image, request)
        if isinstance(request, Empty):
            from instar_qcow.change import emptied

            return emptied(image)
        if isinstance(request, Resize):
            from instar_qcow.change import resized

            return resized(image, request)
    from instar_qcow.write import edits

    return edits(image, request, runs)


@hookimpl
def instar_unlock(image: Image) -> KeyPlan:
    """The passphrase is the key. Raises FormatError for an image that is not encrypted."""
    from instar_core.errors import FormatError
    from instar_qcow.encryption import key_plan
    from instar_qcow.header import read_header

    if not read_header(image.main).encrypted:
        raise FormatError("the image is not encrypted")
    return key_plan(filled=True)


@hookimpl
def instar_seal(image: Image | None, request: WriteRequest) -> KeyPlan:
    """The passphrase will be the key. Raises FormatError, in qemu's words, where the request wants no such image."""
    from instar_qcow.write import seal

    return seal(image, request)
