"""resize: the virtual disk of an image grows or shrinks, in place."""

from __future__ import annotations

import os
import time

from instar_core import registry
from instar_core.changing import Changing
from instar_core.errors import ErrorKind, InstarError, UsageError
from instar_core.settings import DEFAULTS
from instar_core.types import Capability, Resize

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from instar_core.settings import Settings

MODES = ("off", "metadata", "falloc", "full")
UNRESIZED_BY_QEMU = frozenset({"vmdk", "vhdx", "vpc", "vdi", "parallels"})
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
    with Changing(path, settings, format=format, options=open_options) as image:
        member = image.member
        before = member.info.virtual_size
        wanted = before + relative * size if relative else size
        if wanted <= 0:
            raise UsageError("New image size must be positive")
        if wanted <= before and preallocation != "off":
            raise UsageError("Preallocation can only be used for growing images")
        if wanted < before and not shrink:
            raise NotAsked()
        hidden = settings.as_qemu and member.format in UNRESIZED_BY_QEMU
        if hidden or Capability.RESIZE not in registry.spec(member.format).capabilities:
            raise InstarError("Image format driver does not support resize", kind=ErrorKind.UNSUPPORTED)
        image.apply(Resize(wanted, preallocation, time.time_ns(), os.urandom(64)), cancelled=cancelled)
        return wanted


class NotAsked(UsageError):
    """The disk would shrink, and nobody said that it may."""

    def __init__(self) -> None:
        super().__init__("Use the --shrink option to perform a shrink operation.")
