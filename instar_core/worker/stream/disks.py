"""Formats of which one sector says all that is asked: QED, VHD and VDI."""

from __future__ import annotations

from struct import Struct

from instar_core.worker.stream.words import Verdict

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from instar_core.worker.stream.words import Piece

SECTOR = 512
QED = b"QED\0"
CONECTIX = b"conectix"
ORIGINAL_SIZE = Struct(">40xQ")
"""The footer's Original Size: Virtual Hard Disk Image Format Specification, "Hard Disk Footer Format"."""
VDI = b"\x7f\x10\xda\xbe"
VDI_SIGNATURE = 0x40
DISK_SIZE = Struct("<368xQ")


def qed(pieces: Mapping[str, Piece], options: Mapping[str, Any]) -> Verdict:
    """Only recognised: nobody who asks supports it."""
    header = pieces["header"]
    return Verdict(header.done and header.data.startswith(QED))


def vhd(pieces: Mapping[str, Piece], options: Mapping[str, Any]) -> Verdict:
    """A dynamic or differencing disk, whose footer is copied to its start."""
    data = pieces["header"].data
    match = data.startswith(CONECTIX)
    return Verdict(match, ORIGINAL_SIZE.unpack_from(data)[0] if match and len(data) >= SECTOR else 0)


def vdi(pieces: Mapping[str, Piece], options: Mapping[str, Any]) -> Verdict:
    """A VirtualBox disk by its second version of the header."""
    header = pieces["header"]
    match = header.done and header.data.startswith(VDI, VDI_SIGNATURE)
    return Verdict(match, DISK_SIZE.unpack_from(header.data)[0] if match and len(header.data) >= SECTOR else 0)
