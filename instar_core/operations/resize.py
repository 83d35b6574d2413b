"""resize: the virtual disk of an image grows or shrinks, in place."""

from __future__ import annotations

import os
import time

from instar_core import dirty, registry, stretches
from instar_core.changing import Changing
from instar_core.errors import ErrorKind, FormatError, InstarError, UsageError
from instar_core.settings import DEFAULTS
from instar_core.sizes import HIGHEST
from instar_core.types import Capability, Kind, Layer, Resize

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from instar_core.chain import Member
    from instar_core.settings import Settings

MODES = ("off", "metadata", "falloc", "full")
LARGEST = (1 << 63) - (1 << 30)
"""Bytes of the largest disk that QEMU knows."""
UNRESIZED_BY_QEMU = frozenset({"vmdk", "vhdx", "vpc", "vdi", "parallels", "qcow"})
"""Formats that qemu-img does not resize."""


def resize(
    path: str,
    size: int,
    *,
    relative: int = 0,
    shrink: bool = False,
    preallocation: str = "off",
    format: str | None = None,
    open_options: Mapping[str, Any] | None = None,
    settings: Settings = DEFAULTS,
    cancelled: Callable[[], bool] | None = None,
) -> int:
    """The disk in the image at `path` has `size` bytes, or, with `relative` 1 or -1, that many more or fewer than
    before; its new size. What it grows by reads as zeros, whatever lies below.

    It shrinks only with `shrink`. `preallocation` is for what it grows by. A stop at any point leaves the old or the
    new state, with at most leaked clusters. Raises UsageError for a size that cannot be, InstarError of kind
    UNSUPPORTED where the format cannot be resized.
    """
    if preallocation not in MODES:
        raise UsageError(f"Invalid preallocation mode '{preallocation}'")
    with Changing(path, settings, format=format, options=open_options, foreseen="resize") as image:
        image.require_chain()
        member = image.member
        before = member.info.virtual_size
        wanted = before + relative * size if relative else size
        if not 0 < wanted <= HIGHEST:
            raise UsageError("New image size must be positive")
        if wanted <= before and preallocation != "off":
            raise UsageError("Preallocation can only be used for growing images")
        if wanted < before and not shrink:
            raise NotAsked()
        if wanted > LARGEST:
            raise UsageError(f"offset({wanted}) exceeds maximum({LARGEST})")
        hidden = settings.as_qemu and member.format in UNRESIZED_BY_QEMU
        if hidden or Capability.RESIZE not in registry.spec(member.format).capabilities:
            raise InstarError("Image format driver does not support resize", kind=ErrorKind.UNSUPPORTED)
        consistent(member)
        request = Resize(wanted, preallocation, time.time_ns(), os.urandom(64), None)
        if wanted > before:
            request = request._replace(below=prepared(image, before, cancelled, request))
        image.apply(request, cancelled=cancelled)
        return wanted


def consistent(member: Member) -> None:
    """Raises InstarError where the image has a bitmap that says nothing certain."""
    for bitmap in member.info.bitmaps:
        if not dirty.usable(bitmap):
            raise InstarError(
                f"Bitmap '{bitmap.name}' is inconsistent and cannot be used",
                kind=ErrorKind.REFUSED,
                hint="Try block-dirty-bitmap-remove to delete this bitmap from disk",
            )


def prepared(
    image: Changing, size: int, cancelled: Callable[[], bool] | None, request: Resize | None = None
) -> int | None:
    """The size of the disk below, None where there is none. The image, whose disk has `size` bytes, is ready to grow.

    What its last unit reads as is its own then, plainly stored with zeros behind the end of the disk: where the unit is
    encoded, or below's, only its content as a whole can be written. Nothing is written where the format refuses the
    request anyway.
    """
    member = image.member
    cluster = member.info.cluster_size
    cut = bool(cluster and size % cluster) and Capability.UPDATE in registry.spec(member.format).capabilities
    reference = member.reference()
    if reference is None and not (cut and member.info.codings):
        return None
    with image.chain() as top:
        below = top.backing.info.virtual_size if top.backing is not None else None
        start = size // cluster * cluster if cluster else size
        # A place that is made beforehand takes the room of the whole unit, also of what below has in it.
        shown = start if request is not None and request.preallocation != "off" else size
        if cut and _unwritten(top, start, size, below is not None and below > shown):
            if request is not None:
                _planned(image, request._replace(below=below))
            image.update(
                lambda unit: stretches.pieces(top, start=start, length=size - start), sparse=0, cancelled=cancelled
            )
            image.afresh()
    return below


def _planned(image: Changing, request: Resize) -> None:
    """Raises FormatError where the format cannot do what is wanted, whatever the last unit holds."""
    try:
        for _ in image.member.session.edits(image.member.format, request):
            continue
    except FormatError as error:
        if error.kind != ErrorKind.REFUSED:
            raise
        image.afresh()


def _unwritten(top: Member, start: int, end: int, through: bool) -> bool:
    """Whether the image has no plain content of its own in a part of this stretch where below shows `through`, or keeps
    it encoded."""
    extents = list(top.session.map(top.format, top.info, Layer(), start, end - start))
    return any(extent.coding or (extent.kind == Kind.ABSENT and through) for extent in extents)


class NotAsked(UsageError):
    """The disk would shrink, and nobody said that it may."""

    def __init__(self) -> None:
        super().__init__("Use the --shrink option to perform a shrink operation.")
