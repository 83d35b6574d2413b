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
    from instar_core.launch import Begun
    from instar_core.settings import Settings
    from instar_core.types import ImageInfo


def info(
    path: str,
    *,
    format: str | None = None,
    chain: bool = False,
    limits: bool = False,
    open_options: Mapping[str, Any] | None = None,
    settings: Settings = DEFAULTS,
    begun: Begun | None = None,
) -> list[DiskInfo]:
    """What the image at `path` says of itself; with `chain` also every image below it, top first.

    Without `chain` nothing that the image names is opened, but for the extents that it consists of. `begun` is what
    launch.begin made of the same path, settings and format for "info". `open_options` are those with which the
    format opens an image (FormatSpec.open_options), as values. Raises InstarError.
    """
    if chain:
        top = chains.open_chain(
            path, settings, "info", format=format, options=open_options, whole=False, shallow=True, begun=begun
        )
    else:
        top = chains.open_member(path, settings, "info", format=format, options=open_options, whole=False, begun=begun)
    with top:
        return [describe(member, limits) for member in top.members()]


def describe(member: Member, limits: bool = False) -> DiskInfo:
    """The facts of one open image."""
    parts = [reference for reference in member.info.references if reference.role == Role.EXTENT]
    children = []
    for index, (_, device) in enumerate(zip(parts, member.devices[1:], strict=False)):
        children.append(Child(f"extents.{index}", device.path, device.size, device.allocated))
    children.reverse()
    if member.apart:
        header = member.devices[1]
        children.append(Child("header", header.path, header.size, header.allocated))
    own = member.devices[0]
    children.append(Child("file", own.path, own.size, own.allocated))
    reference = member.reference()
    return DiskInfo(
        member.shown,
        located(member),
        sum(child.allocated for child in children),
        tuple(children),
        os.fsdecode(reference.name) if reference else None,
        member.backing_path(),
        reference.format if reference else None,
        block_limits(member) if limits else (),
    )


def located(member: Member) -> ImageInfo:
    """The image's info with the names of its extents as they were opened; the image's own where it is one itself."""
    listed = member.info.details.get("extents")
    if not isinstance(listed, tuple):
        return member.info
    named = []
    for extent in listed:
        name = extent.get("filename", "")
        path = os.path.join(os.path.dirname(member.path), name) if name else member.path
        named.append({**extent, "filename": path})
    return member.info._replace(details={**member.info.details, "extents": named})


def block_limits(member: Member) -> tuple[tuple[str, int], ...]:
    """The limits that qemu-img prints for a plain file opened through the page cache."""
    request = 512 if member.devices[0].block else 1
    return (
        ("request-alignment", request),
        ("max-discard", 0),
        ("discard-alignment", 0),
        ("max-write-zeroes", 0),
        ("write-zeroes-alignment", member.info.cluster_size),
        ("opt-transfer", 0),
        ("max-transfer", 0),
        ("max-hw-transfer", 0),
        ("max-iov", 1024),
        ("max-hw-iov", 0),
        ("min-mem-alignment", 512),
        ("opt-mem-alignment", 4096),
    )
