"""What a QED image says of itself: by the words of qemu-img info."""

from __future__ import annotations

from instar_core.types import ImageInfo, Reference, Role
from instar_qed import layout
from instar_qed.header import read_header

TYPE_CHECKING = False
if TYPE_CHECKING:
    from instar_core.source import Image
    from instar_qed.header import Header


def info(image: Image) -> ImageInfo:
    """The image's facts.

    An image that needs a check is not called dirty, because qemu-img never does; `extra` tells.
    """
    header = read_header(image.main)
    return ImageInfo(
        format="qed",
        virtual_size=header.image_size,
        cluster_size=header.cluster_size,
        references=_references(header),
        dirty=False,
        extra={
            "need-check": bool(header.features & layout.NEED_CHECK),
            "table-size": header.table_size,
            "header-size": header.header_size,
            "l1-table-offset": header.l1_table_offset,
        },
    )


def _references(header: Header) -> tuple[Reference, ...]:
    if not header.backing_filename:
        return ()
    raw = header.features & layout.BACKING_FORMAT_NO_PROBE
    return (Reference(Role.BACKING, header.backing_filename, "raw" if raw else None),)
