"""What an ISO 9660 volume says of itself."""

from __future__ import annotations

from instar_core.errors import FormatError
from instar_core.types import ImageInfo
from instar_iso.descriptors import read_set
from instar_iso.layout import EL_TORITO, FIRST, JOLIET, SECTOR, STANDARD, DescriptorType, volume

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from instar_core.source import Source
    from instar_iso.layout import Volume


def disk_size(source: Source) -> int:
    """The disk is the whole file, as for a raw one: hybrid images have more behind the volume."""
    return -(-source.size // SECTOR) * SECTOR


def describe(source: Source) -> ImageInfo:
    """The file as a disk; what its descriptors say, where they say something, is extra.

    Raises FormatError where no volume descriptor stands in its place.
    """
    if source.read(FIRST + 1, len(STANDARD), pad=True) != STANDARD:
        raise FormatError("Image is not an ISO 9660 volume", offset=FIRST)
    found = read_set(source)
    extra: dict[str, Any] = {}
    if found.primary is not None:
        extra.update(_facts(volume(found.primary.data)))
    for one in found.descriptors:
        if one.type == DescriptorType.SUPPLEMENTARY and volume(one.data).escape_sequences[:3] in JOLIET:
            extra["joliet"] = True
        if one.type == DescriptorType.BOOT and one.data[7:].startswith(EL_TORITO):
            extra["bootable"] = True
    return ImageInfo("iso", disk_size(source), dirty=False, partial=True, extra=extra)


def _facts(said: Volume) -> dict[str, Any]:
    made: dict[str, Any] = {
        "volume-size": said.volume_space_size.little * said.logical_block_size.little,
        "block-size": said.logical_block_size.little,
    }
    texts = {
        "volume-id": said.volume_identifier,
        "system-id": said.system_identifier,
        "publisher": said.publisher_identifier,
        "preparer": said.data_preparer_identifier,
        "application": said.application_identifier,
        "created": _date(said.creation),
    }
    made.update({key: text for key, value in texts.items() if (text := value.decode("ascii", "replace").strip(" \0"))})
    return made


def _date(stamp: bytes) -> bytes:
    """2026-11-21 13:22:59 for such a date; nothing for one that is not given."""
    digits = stamp[:14]
    if len(digits) < 14 or not digits.isdigit() or not digits.strip(b"0"):
        return b""
    year, month, day, hour, minute, second = digits[:4], *(digits[at : at + 2] for at in range(4, 14, 2))
    return b"-".join((year, month, day)) + b" " + b":".join((hour, minute, second))
