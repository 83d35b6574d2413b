"""A LUKS volume of either version as the hooks need it: where its payload lies and how it is encrypted."""

from __future__ import annotations

from instar_core.errors import ErrorKind, FormatError
from instar_core.luks1 import details as details1
from instar_core.luks1 import header as luks1
from instar_core.luks1.layout import MAGIC, SECTOR_SIZE, VERSION
from instar_core.types import Coding
from instar_luks.luks2 import copies, metadata
from instar_luks.luks2 import details as details2

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NamedTuple

    from instar_core.luks1.header import Header
    from instar_core.source import Image, Source
    from instar_luks.luks2.metadata import Metadata
else:
    from instar_core.record import NamedTuple

HEADER = "header"
"""Option of an image whose header lies apart: in device 1, and the payload in device 0."""


class Volume(NamedTuple):
    """`header` is that of version 1, or the metadata of version 2; `source` and `device` are where it lies.

    `offset` is where the payload lies in device 0, in bytes, and `length` what the header says of its size.
    """

    header: Header | Metadata
    source: Source
    device: int
    offset: int
    coding: Coding
    details: dict[str, Any]
    length: int | None = None


def detached(image: Image) -> bool:
    """Whether the header lies apart from the payload."""
    return bool(image.options.get(HEADER))


def version(source: Source) -> int:
    """2 for a volume of which either copy of a LUKS2 header says so; else 1, whose reader says what is wrong."""
    magic, number = source.unpack(VERSION, 0, pad=True)
    if magic == MAGIC:
        return 2 if number == 2 else 1
    return 2 if copies.has_second(source) else 1


def open_volume(image: Image) -> Volume:
    """The volume, its header checked. Raises FormatError."""
    apart = detached(image)
    device = 1 if apart else 0
    source = image.devices[device]
    if version(source) == 1:
        found = luks1.read(source, detached=apart)
        params: dict[str, Any] = {"cipher": found.cipher_spec, "key_size": found.key_bytes, "iv_base": 0}
        coding = Coding("cipher", unit=SECTOR_SIZE, whole=False, params=params)
        facts = details1.details(found, detached=apart)
        return Volume(found, source, device, found.payload_offset, coding, facts)
    copy = copies.read(source).used
    two = metadata.parse(copy)
    segment = two.segment
    params = {"cipher": segment.cipher, "key_size": two.key_size, "iv_base": segment.iv_tweak}
    if segment.sector_size != SECTOR_SIZE:
        params["iv_step"] = segment.sector_size // SECTOR_SIZE
    coding = Coding("cipher", unit=segment.sector_size, whole=False, params=params)
    facts = details2.details(copy, two, detached=apart)
    return Volume(two, source, device, segment.offset, coding, facts, segment.length)


def virtual_size(image: Image, volume: Volume) -> int:
    """The file's size, up to a whole sector of 512 bytes, less the payload's offset, down to a whole sector of the
    payload; or what the header says."""
    if volume.length is not None:
        return volume.length
    size = -(-image.main.size // SECTOR_SIZE) * SECTOR_SIZE - volume.offset
    if size < 0:
        raise FormatError(
            "Could not refresh total sector count: Input/output error", kind=ErrorKind.TRUNCATED, offset=volume.offset
        )
    return size - size % volume.coding.unit
