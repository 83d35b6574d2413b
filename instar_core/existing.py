"""An image that is there already as the target of a conversion (convert -n): what of it stays as it is."""

from __future__ import annotations

import os

from instar_core import chain as chains
from instar_core import merge
from instar_core.errors import ErrorKind, FormatError, InstarError
from instar_core.types import Barrier, Copy, Kind, Punch, Role

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from instar_core.chain import Member
    from instar_core.making import Order
    from instar_core.types import Edit, ImageInfo


def adopt(order: Order, wanted: int) -> int:
    """The bytes to make of the image at the order's path, whose virtual size and further properties stay.

    A raw disk is written into, as far as content goes. An image of another format is made anew with the same
    properties and backing file, so it may hold nothing that would be lost by that. `wanted` is the bytes that go
    into it. Raises InstarError where it is too small or holds more than its content, FormatError where it is no such
    image.
    """
    settings = order.settings._replace(force_share=True)
    with chains.open_member(order.path, settings, "map", format=order.spec.name, whole=False) as member:
        size = member.info.virtual_size
        if size < wanted:
            raise InstarError("output file is smaller than input file")
        if order.spec.name == "raw":
            return wanted
        _replaceable(member, wanted)
        for name, text in properties(member.info).items():
            if name in order.values and name not in order.given:
                order.give(name, text)
        reference = member.reference()
        if reference is not None:
            order.give("backing_file", os.fsdecode(reference.name))
            if reference.format is not None and "backing_fmt" in order.values:
                order.give("backing_fmt", reference.format)
        return size


def _replaceable(member: Member, wanted: int) -> None:
    info = member.info
    lost = [
        what
        for what, there in (
            ("a data file", any(reference.role == Role.DATA for reference in info.references)),
            ("snapshots", bool(info.snapshots)),
            ("bitmaps", bool(info.bitmaps)),
            ("encryption", info.encrypted),
        )
        if there
    ]
    if lost:
        raise InstarError(
            f"converting into an existing image with {lost[0]} is not supported", kind=ErrorKind.UNSUPPORTED
        )
    if info.blocked:
        raise FormatError(info.blocked, kind=ErrorKind.UNSUPPORTED)
    tail = merge.extents(member, start=wanted) if info.virtual_size > wanted else iter(())
    if any(extent.kind == Kind.DATA for extent, _, _ in tail):
        raise InstarError(
            "converting into an existing image with content past the end of the source is not supported",
            kind=ErrorKind.UNSUPPORTED,
        )


def properties(info: ImageInfo) -> dict[str, str]:
    """The create options that would make an empty image like this one, as a user would type them."""
    size = str(info.cluster_size)
    found = {"cluster_size": size, "block_size": size} if info.cluster_size else {}
    for key, value in {**info.extra, **info.details}.items():
        name = "subformat" if key == "create-type" else key.replace("-", "_")
        if isinstance(value, bool):
            found[name] = "on" if value else "off"
        elif isinstance(value, str | int):
            found[name] = str(value)
    return found


def content_only(edits: Iterable[Edit]) -> Iterator[Edit]:
    """The edits that place content: the disk that they go into keeps its size and all else."""
    return (edit for edit in edits if isinstance(edit, Copy | Punch | Barrier))
