"""What a qcow image says of itself."""

from __future__ import annotations

from instar_core.types import Coding, ImageInfo, Reference, Role
from instar_qcow import encryption
from instar_qcow.header import read_header

TYPE_CHECKING = False
if TYPE_CHECKING:
    from instar_core.source import Image

COMPRESSED = 1
"""Coding of compressed clusters, encrypted image or not."""
ENCRYPTED = 2
"""Coding of the other clusters of an encrypted image."""


def info(image: Image) -> ImageInfo:
    """All that the metadata tells. The format has no place for that of the backing file."""
    header = read_header(image.main)
    references = (Reference(Role.BACKING, header.backing_file),) if header.backing_file else ()
    codings = (Coding("deflate-12", header.cluster_size),)
    return ImageInfo(
        format="qcow",
        virtual_size=header.size,
        cluster_size=header.cluster_size,
        references=references,
        codings=(*codings, encryption.coding()) if header.encrypted else codings,
        encrypted=header.encrypted,
        blocked=encryption.REQUIRED if header.encrypted else "",
        extra={
            "l1-entries": header.l1_size,
            "l1-offset": header.l1_table_offset,
            "l2-entries": header.l2_entries,
            "mtime": header.mtime,
        },
    )
