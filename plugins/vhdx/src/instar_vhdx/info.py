"""What a VHDX image says of itself."""

from __future__ import annotations

from instar_core.errors import ErrorKind, FormatError
from instar_core.types import ImageInfo, Reference, Role
from instar_vhdx.layout import CREATOR, FILE_MAGIC, guid_text
from instar_vhdx.locator import identity, parent_name
from instar_vhdx.utf16 import decode, encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from instar_vhdx.opening import Disk


def describe(disk: Disk) -> ImageInfo:
    """The image's facts; `details` are empty, as qemu-img shows none. It is dirty while its log is not replayed."""
    metadata = disk.metadata
    extra: dict[str, Any] = {
        "identity": guid_text(disk.header.data_write_guid),
        "subformat": "differencing" if metadata.parent else "fixed" if metadata.fixed else "dynamic",
        "creator": _creator(disk),
        "virtual-disk-id": guid_text(metadata.disk_id),
        "logical-sector-size": metadata.logical,
        "physical-sector-size": metadata.physical,
        "log-size": disk.header.log_length,
    }
    if metadata.parent:
        extra["parent-locator"] = {key: _printable(value) for key, value in metadata.locator.items()}
    return ImageInfo(
        format="vhdx",
        virtual_size=metadata.size,
        cluster_size=metadata.block,
        references=_parent(disk),
        dirty=disk.replay is not None,
        extra=extra,
    )


def _parent(disk: Disk) -> tuple[Reference, ...]:
    """The parent, with the identity that it must have. Raises FormatError where the image does not say it."""
    metadata = disk.metadata
    if not metadata.parent:
        return ()
    linkage = identity(metadata.locator.get("parent_linkage", ""))
    if linkage is None:
        raise FormatError("the parent locator does not identify the parent", kind=ErrorKind.CORRUPT)
    return (Reference(Role.BACKING, parent_name(metadata.locator), "vhdx", {"identity": linkage}),)


def _creator(disk: Disk) -> str:
    stored = disk.source.read(len(FILE_MAGIC), CREATOR, pad=True)
    return _printable(decode(stored, "replace").partition("\0")[0])


def _printable(text: str) -> str:
    """The text without halves of characters, which no answer can carry."""
    return decode(encode(text, "surrogatepass"), "replace")
