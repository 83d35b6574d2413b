"""An image that is there but cannot be written in place, as the target of a conversion: what a new one must be like."""

from __future__ import annotations

from instar_core import chain as chains
from instar_core import merge
from instar_core.errors import ErrorKind, FormatError, InstarError
from instar_core.types import Kind

TYPE_CHECKING = False
if TYPE_CHECKING:
    from instar_core.making import Order
    from instar_core.types import ImageInfo


def adopt(order: Order, wanted: int) -> int:
    """The bytes to make of the image at the order's path, which is made anew with the same properties.

    It may hold nothing that would be lost by that. `wanted` is the bytes of content that go into it. Raises InstarError
    where it holds more, FormatError where it is no such image.
    """
    settings = order.settings._replace(force_share=True)
    with chains.open_member(order.path, settings, "map", format=order.spec.name, whole=False) as member:
        info = member.info
        if info.blocked:
            raise FormatError(info.blocked, kind=ErrorKind.UNSUPPORTED)
        rest = merge.extents(member, start=wanted) if info.virtual_size > wanted else iter(())
        if (
            info.references
            or info.snapshots
            or info.bitmaps
            or info.encrypted
            or any(extent.kind == Kind.DATA for extent, _, _ in rest)
        ):
            raise InstarError(f"'{order.path}' holds more than content", kind=ErrorKind.UNSUPPORTED)
        for name, text in properties(info).items():
            if name in order.values:
                order.give(name, text)
        return info.virtual_size


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
