"""info: what an image says of itself."""

from __future__ import annotations

import os

from instar_core import chain as chains
from instar_core.results import Child, DiskInfo
from instar_core.settings import DEFAULTS
from instar_core.types import Role

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from instar_core.chain import Member
    from instar_core.device import Device
    from instar_core.launch import Begun
    from instar_core.settings import Settings
    from instar_core.types import ImageInfo


def info(
    path: str,
    *,
    format: str | None = None,
    chain: bool = False,
    limits: bool = False,
    direct: bool = False,
    open_options: Mapping[str, Any] | None = None,
    settings: Settings = DEFAULTS,
    begun: Begun | None = None,
) -> list[DiskInfo]:
    """What the image at `path` says of itself; with `chain` also every image below it, top first.

    Without `chain` nothing that the image names is opened, but for the extents that it consists of. `begun` is what
    launch.begin made of the same path, settings and format for "info". `open_options` are those with which the
    format opens an image (FormatSpec.open_options), as values. With `limits` block limits are told too, for files that
    are opened past the page cache if `direct`. Raises InstarError.
    """
    if chain:
        top = chains.open_chain(
            path, settings, "info", format=format, options=open_options, whole=False, shallow=True, begun=begun
        )
    else:
        top = chains.open_member(path, settings, "info", format=format, options=open_options, whole=False, begun=begun)
    with top:
        told = [describe(member) for member in top.members()]
        if limits:
            told = [
                _limited(disk, member, direct, probed=format is None and member is top)
                for disk, member in zip(told, top.members(), strict=True)
            ]
        return told


def _limited(disk: DiskInfo, member: Member, direct: bool, *, probed: bool) -> DiskInfo:
    """The facts, with block limits."""
    from instar_core import blocklimits

    children = tuple(child._replace(limits=blocklimits.of_file(direct=direct)) for child in disk.children)
    return disk._replace(children=children, limits=blocklimits.of_image(member, direct=direct, probed=probed))


def describe(member: Member) -> DiskInfo:
    """The facts of one open image."""
    parts = [reference for reference in member.info.references if reference.role == Role.EXTENT]
    children = []
    for index, (_, device) in enumerate(zip(parts, member.devices[1:], strict=False)):
        children.append(_child(f"extents.{index}", device))
    children.reverse()
    if member.apart:
        children.append(_child("header", member.devices[1]))
    own = member.devices[0]
    children.append(_child("file", own))
    reference = member.reference()
    return DiskInfo(
        own.path if own.served is not None and member.shown == member.path else member.shown,
        located(member),
        None if own.served is not None else sum(child.allocated or 0 for child in children),
        tuple(children),
        os.fsdecode(reference.name) if reference else None,
        member.backing_path(),
        reference.format if reference else None,
    )


def _child(node: str, device: Device) -> Child:
    if device.served is None:
        return Child(node, device.path, device.size, device.allocated)
    return Child(node, device.path, device.size, None, device.served.driver)


def located(member: Member) -> ImageInfo:
    """The image's info with the names of its extents as they were opened; the image's own where it is one itself.

    Whether a raw disk was closed cleanly only its file could say, which a source is not.
    """
    if member.format == "raw" and member.devices[0].served is not None:
        return member.info._replace(dirty=None)
    listed = member.info.details.get("extents")
    if not isinstance(listed, tuple):
        return member.info
    named = []
    for extent in listed:
        name = extent.get("filename", "")
        path = os.path.join(os.path.dirname(member.path), name) if name else member.path
        named.append({**extent, "filename": path})
    return member.info._replace(details={**member.info.details, "extents": named})
