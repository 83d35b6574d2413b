"""What a VDI image says of itself."""

from __future__ import annotations

from instar_core.types import ImageInfo
from instar_vdi.layout import TYPES, Type
from instar_vdi.opening import cut, open_image

TYPE_CHECKING = False
if TYPE_CHECKING:
    from instar_core.source import Source
    from instar_vdi.layout import Header

CUT = "the block map goes on past the end of the file"


def describe(source: Source) -> ImageInfo:
    """The image's facts; what qemu-img does not print is in `extra`."""
    header = open_image(source)
    return ImageInfo(
        format="vdi",
        virtual_size=header.size,
        cluster_size=header.block_size,
        blocked=CUT if cut(source, header) else "",
        extra=_extra(header),
    )


def _extra(header: Header) -> dict[str, str | int]:
    made: dict[str, str | int] = {
        "static": header.image_type == Type.STATIC,
        "image-type": TYPES.get(header.image_type, str(header.image_type)),
        "version": f"{header.version >> 16}.{header.version & 0xFFFF}",
        "blocks": header.blocks,
        "blocks-allocated": header.allocated,
        "uuid": uuid_text(header.uuid_image),
        "uuid-snapshot": uuid_text(header.uuid_snapshot),
    }
    said = header.description.partition(b"\0")[0].decode("utf-8", "replace")
    if said:
        made["description"] = said
    if header.block_extra:
        made["block-extra"] = header.block_extra
    return made


def uuid_text(raw: bytes) -> str:
    """A UUID as VirtualBox prints it: the first three fields are little-endian."""
    swapped = raw[3::-1] + raw[5:3:-1] + raw[7:5:-1] + raw[8:]
    text = swapped.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
