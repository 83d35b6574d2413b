"""bitmap: the dirty bitmaps of an image are added, removed, cleared, switched and merged, in place."""

from __future__ import annotations

import time

from instar_core import chain as chains
from instar_core import device as devices
from instar_core import dirty, registry
from instar_core.bitmapplan import Action, Plan, side
from instar_core.changing import Changing
from instar_core.errors import ErrorKind, InstarError, UsageError
from instar_core.settings import DEFAULTS
from instar_core.types import BitmapEdit, Capability

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from instar_core.chain import Member
    from instar_core.settings import Settings

__all__ = ["Action", "bitmap"]

VERBS = ("add", "remove", "remove-all", "clear", "enable", "disable", "merge")
FINEST, COARSEST = 512, 1 << 31
"""Bounds of a granularity in bytes."""


def bitmap(
    path: str,
    name: str,
    actions: Sequence[Action],
    *,
    granularity: int = 0,
    source: str | None = None,
    source_format: str | None = None,
    format: str | None = None,
    open_options: Mapping[str, Any] | None = None,
    settings: Settings = DEFAULTS,
    cancelled: Callable[[], bool] | None = None,
) -> None:
    """The actions are done to the bitmap `name` of the image at `path`, in their order, and become current together.

    `granularity` (bytes, 0: the format's default) is for add. Bitmaps are merged from the image itself, or from the
    one at `source`; what is dirty there is dirty here too, whatever the granularities. Where an action cannot be done,
    those before it are, and InstarError says why in qemu-img's words. A stop at any point leaves the old or the new
    state of all bitmaps, with at most leaked clusters.
    """
    for action in actions:
        if action.verb not in VERBS:
            raise UsageError(f"bitmaps have no action '{action.verb}'")
    opened: list[Member] = []
    with Changing(path, settings, format=format, options=open_options, foreseen="bitmap") as image:
        try:
            other = None
            if source is not None:
                # As qemu-img does: a raw disk has nothing that its writer could make untrue.
                reading = "info" if source_format == "raw" else "map"
                other = chains.open_member(source, settings, reading, format=source_format, whole=False)
                opened.append(other)
            plan, fault = planned(image.member, name, actions, granularity, other)
            steps = plan.steps()
            if steps:
                streams = [] if other is None else [other]
                for _ in plan.merges[len(streams) :]:
                    opened.append(again(other or image.member, settings, None if other else open_options))
                    streams.append(opened[-1])
                runs = dirty.union([dirty.runs(*pair) for pair in zip(streams, plan.merges, strict=False)])
                edit(image, BitmapEdit(steps[0], name, granularity, time.time_ns(), steps[1:]), runs, cancelled)
            if fault is not None:
                raise fault
        finally:
            for member in opened:
                member.close()


def planned(
    member: Member, name: str, actions: Sequence[Action], granularity: int, other: Member | None
) -> tuple[Plan, InstarError | None]:
    """What is to be done, up to the first action that cannot be, and why that one cannot."""
    refused, bitmaps = "", member.info.bitmaps
    if granularity and (not FINEST <= granularity <= COARSEST or granularity & granularity - 1):
        refused = "Granularity must be power of 2 and at least 512"
    elif Capability.BITMAP not in registry.spec(member.format).capabilities:
        refused = f"Can't store persistent bitmaps to {member.path}: Operation not supported"
        if bitmaps and any(each.verb != "add" for each in actions):
            verb = next(each.verb for each in actions if each.verb != "add")
            raise InstarError(
                f"Operation {verb} on bitmap {name} failed: Bitmaps of the format '{member.format}' are readonly and "
                "cannot be modified",
                kind=ErrorKind.UNSUPPORTED,
            )
    elif member.info.details.get("compat") == "0.10":
        refused = (
            f"Can't make bitmap '{name}' persistent in '{member.path}': Cannot store dirty bitmaps in qcow2 v2 files"
        )
    own = side(bitmaps, member.info.virtual_size)
    plan = Plan(name, own, None if other is None else side(other.info.bitmaps, other.info.virtual_size), refused)
    for action in actions:
        try:
            plan.take(action)
        except InstarError as error:
            error.message = f"Operation {action.verb} on bitmap {name} failed: {error.message}"
            return plan, error
    return plan, None


def again(member: Member, settings: Settings, options: Mapping[str, Any] | None) -> Member:
    """The same image in a further session, for a bitmap to be read while the image is changed or another one read."""
    own = settings._replace(force_share=True)  # the one lock is that of the descriptor that is open already
    return chains.open_member(
        member.path,
        own,
        "map",
        format=member.format,
        options=options,
        device=devices.reopen(member.devices[0]),
        whole=False,
    )


def edit(image: Changing, request: BitmapEdit, runs: Any, cancelled: Callable[[], bool] | None = None) -> None:
    """The request is carried out. Raises InstarError in qemu-img's words."""
    try:
        image.apply(request, runs, cancelled)
    except InstarError as error:
        steps = (request.action, *request.further)
        if "add" in steps:
            error.message = f"Can't make bitmap '{request.name}' persistent in '{image.member.path}': {error.message}"
        error.message = f"Operation {'add' if 'add' in steps else steps[0]} on bitmap {request.name} failed: " + (
            error.message
        )
        raise
