"""The hooks of the plugin: each hands over to the module that does the work."""

from __future__ import annotations

from instar_core.hookspecs import hookimpl
from instar_core.types import Match
from instar_qcow2 import layout
from instar_qcow2.info import info

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
    """The magic and a version that is not the original format's (which is another format, qcow)."""
    head = view.head
    if head[:4] == layout.MAGIC and len(head) >= 8 and int.from_bytes(head[4:8], "big") >= 2:
        return Match("qcow2")
    return None


@hookimpl
def instar_info(image: Image) -> ImageInfo:
    """See instar_qcow2.info."""
    return info(image)


@hookimpl
def instar_map(image: Image, layer: Layer, span: Span) -> Iterable[Extent]:
    """See instar_qcow2.map."""
    from instar_qcow2.map import map_

    return map_(image, layer, span)


@hookimpl
def instar_write(image: Image | None, request: WriteRequest, runs: Iterable[Run]) -> Iterator[Geometry | Edit]:
    """See instar_qcow2.write."""
    from instar_qcow2.write import write

    return write(image, request, runs)


@hookimpl
def instar_check(image: Image) -> Iterator[Finding | Tally]:
    """See instar_qcow2.check."""
    from instar_qcow2.check import check

    return check(image)


@hookimpl
def instar_unlock(image: Image) -> KeyPlan:
    """See instar_qcow2.encryption."""
    from instar_qcow2.encryption import key_plan

    return key_plan(image)


@hookimpl
def instar_seal(image: Image | None, request: WriteRequest) -> KeyPlan:
    """See instar_qcow2.sealing."""
    from instar_qcow2.sealing import seal

    return seal(image, request)
