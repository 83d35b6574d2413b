"""Structures of a VHDX file, by the names of [MS-VHDX]. All integers are little-endian."""

from __future__ import annotations

from struct import Struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NamedTuple
else:
    from instar_core.record import NamedTuple

MIB = 1 << 20
SECTOR = 512
"""Bytes by which a file's size is rounded up, as qemu-img counts it."""

FILE_MAGIC = b"vhdxfile"
CREATOR = 512
"""Bytes of the creator's name in the file type identifier (2.2.1), UTF-16."""

HEADERS = (64 << 10, 128 << 10)
HEADER_SIZE = 4 << 10
HEADER_MAGIC = b"head"
HEADER = Struct("<4sIQ16s16s16sHHIQ")
"""2.2.2"""

REGION_TABLES = (192 << 10, 256 << 10)
REGION_TABLE_SIZE = 64 << 10
REGION_MAGIC = b"regi"
REGION_HEAD = Struct("<4sIII")
REGION_ENTRY = Struct("<16sQII")
"""2.2.3"""

LOG_MAGIC, ZERO_MAGIC, DATA_MAGIC, SECTOR_MAGIC = b"loge", b"zero", b"desc", b"data"
LOG_SECTOR = 4 << 10
LOG_ENTRY = Struct("<4sIIIQII16sQQ")
DESCRIPTOR = Struct("<4s4sQQQ")
DATA_HEAD = Struct("<4sI")
DATA_TAIL = Struct("<I")
"""2.3.1"""

METADATA_MAGIC = b"metadata"
METADATA_HEAD = Struct("<8sHH20s")
METADATA_ENTRY = Struct("<16sIIII")
METADATA_TABLE = 64 << 10
FILE_PARAMETERS = Struct("<II")
"""2.6"""

LOCATOR_HEAD = Struct("<16sHH")
LOCATOR_ENTRY = Struct("<IIHH")
"""2.6.2.6"""

FIXED, HAS_PARENT = 1, 2
"""Bits of FILE_PARAMETERS: LeaveBlocksAllocated and HasParent."""
IS_USER, IS_VIRTUAL_DISK, IS_REQUIRED = 1, 2, 4
"""Bits of a metadata entry."""

BITS_PER_BITMAP = 1 << 23
"""Sectors that one sector bitmap block stands for."""
STATE = 7
OFFSET = ~(MIB - 1) & (1 << 64) - 1
"""The parts of an entry of the block allocation table (2.5.1); the rest is reserved."""


class Payload:
    """States of payload blocks (2.5.1.1)."""

    NOT_PRESENT = 0
    UNDEFINED = 1
    ZERO = 2
    UNMAPPED = 3
    FULLY_PRESENT = 6
    PARTIALLY_PRESENT = 7


BITMAP_PRESENT = 6
"""State of a sector bitmap block that is there (2.5.1.2)."""


def guid(text: str) -> bytes:
    """A GUID as it is stored."""
    plain = bytes.fromhex(text.replace("-", ""))
    return plain[3::-1] + plain[5:3:-1] + plain[7:5:-1] + plain[8:]


def guid_text(stored: bytes) -> str:
    """A stored GUID as people write it, in lower case and without braces."""
    shown = (stored[3::-1] + stored[5:3:-1] + stored[7:5:-1] + stored[8:]).hex()
    return f"{shown[:8]}-{shown[8:12]}-{shown[12:16]}-{shown[16:20]}-{shown[20:]}"


BAT_REGION = guid("2dc27766-f623-4200-9d64-115e9bfd4a08")
METADATA_REGION = guid("8b7ca206-4790-4b9a-b8fe-575f050f886e")

FILE_PARAMETERS_ITEM = guid("caa16737-fa36-4d43-b3b6-33f0aa44e76b")
VIRTUAL_DISK_SIZE_ITEM = guid("2fa54224-cd1b-4876-b211-5dbed83bf4b8")
VIRTUAL_DISK_ID_ITEM = guid("beca12ab-b2e6-4523-93ef-c309e000c746")
LOGICAL_SECTOR_ITEM = guid("8141bf1d-a96f-4709-ba47-f233a8faab5f")
PHYSICAL_SECTOR_ITEM = guid("cda348c7-445d-4471-9cc9-e9885251c556")
PARENT_LOCATOR_ITEM = guid("a8d35f2d-b30b-454d-abf7-d3d84834ab0c")
LOCATOR_TYPE = guid("b04aefb7-d19e-4a81-b789-25b8e9445913")

NO_GUID = bytes(16)


class Header(NamedTuple):
    """One of the two headers, as stored; `place` is where."""

    magic: bytes
    checksum: int
    sequence: int
    file_write_guid: bytes
    data_write_guid: bytes
    log_guid: bytes
    log_version: int
    version: int
    log_length: int
    log_offset: int
    place: int = 0


class Region(NamedTuple):
    """A stretch of the file that the region table names."""

    guid: bytes
    offset: int
    length: int
    required: bool

    @property
    def end(self) -> int:
        """Where it ends."""
        return self.offset + self.length
