"""The hooks of the QED plugin. What only map, check or write need is imported by them."""

from __future__ import annotations

from instar_core.errors import ErrorKind, FormatError
from instar_core.hookspecs import hookimpl
from instar_core.types import Create, Empty, Match, Rebase, Repair, Resize, Update
from instar_qed import layout
from instar_qed.info import info

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
        Layer,
        ProbeView,
        Run,
        Span,
        Tally,
        WriteRequest,
    )


@hookimpl
def instar_probe(view: ProbeView) -> Match | None:
    """The magic."""
    return Match("qed") if view.head[:4] == layout.MAGIC else None


@hookimpl
def instar_info(image: Image) -> ImageInfo:
    """See instar_qed.info."""
    return info(image)


@hookimpl
def instar_map(image: Image, layer: Layer, span: Span) -> Iterator[Extent]:
    """See instar_qed.map."""
    from instar_qed.map import extents

    return extents(image, layer, span)


@hookimpl
def instar_check(image: Image) -> Iterator[Finding | Tally]:
    """See instar_qed.check."""
    from instar_qed.check import findings

    return findings(image)


@hookimpl
def instar_write(image: Image | None, request: WriteRequest, runs: Iterable[Run]) -> Iterator[Geometry | Edit]:
    """A new image (see instar_qed.write), or a change of one that is there: each has a module of its own."""
    if isinstance(request, Create):
        from instar_qed.write import edits

        return edits(request, runs)
    if image is not None:
        if isinstance(request, Repair):
            from instar_qed.repair import mended

            return mended(image, request)
        if isinstance(request, Update):
            from instar_qed.update import edits as updated

            return updated(image, request, runs)
        if isinstance(request, Resize):
            from instar_qed.resize import resized

            return resized(image, request)
        if isinstance(request, Rebase):
            from instar_qed.rebase import rebased

            return rebased(image, request)
        if isinstance(request, Empty):
            from instar_qed.empty import emptied

            return emptied(image)
    raise FormatError("QED images cannot be changed in this way", kind=ErrorKind.UNSUPPORTED)
