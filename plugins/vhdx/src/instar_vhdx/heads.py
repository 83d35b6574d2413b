"""The structures of a new VHDX file, as bytes: identifier, headers, region table, metadata."""

from __future__ import annotations

from instar_vhdx.crc import crc32c
from instar_vhdx.layout import (
    BAT_REGION,
    CREATOR,
    FILE_MAGIC,
    FILE_PARAMETERS,
    FILE_PARAMETERS_ITEM,
    FIXED,
    HAS_PARENT,
    HEADER,
    HEADER_SIZE,
    IS_REQUIRED,
    IS_VIRTUAL_DISK,
    LOCATOR_ENTRY,
    LOCATOR_HEAD,
    LOCATOR_TYPE,
    LOGICAL_SECTOR_ITEM,
    METADATA_ENTRY,
    METADATA_HEAD,
    METADATA_MAGIC,
    METADATA_REGION,
    METADATA_TABLE,
    MIB,
    PARENT_LOCATOR_ITEM,
    PHYSICAL_SECTOR_ITEM,
    REGION_ENTRY,
    REGION_HEAD,
    REGION_MAGIC,
    REGION_TABLE_SIZE,
    VIRTUAL_DISK_ID_ITEM,
    VIRTUAL_DISK_SIZE_ITEM,
    Header,
)
from instar_vhdx.utf16 import encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from instar_vhdx.choices import Choices

WHO = "instar"


def random_guid(entropy: bytes) -> bytes:
    """A stored GUID of version 4 from 16 random bytes."""
    made = bytearray(entropy)
    made[7] = made[7] & 0x0F | 0x40
    made[8] = made[8] & 0x3F | 0x80
    return bytes(made)


def identifier() -> bytes:
    """The file type identifier: what makes the file one of this format."""
    return FILE_MAGIC + encode(WHO).ljust(CREATOR, b"\0")


def header_bytes(header: Header) -> bytes:
    """The header as it is stored, its checksum right."""
    return _summed(HEADER.pack(*header._replace(checksum=0)[:10]).ljust(HEADER_SIZE, b"\0"))


def region_table(table: tuple[int, int], metadata: tuple[int, int]) -> bytes:
    """A region table with both regions, each given as offset and length."""
    made = REGION_HEAD.pack(REGION_MAGIC, 0, 2, 0)
    for guid, (offset, length) in ((BAT_REGION, table), (METADATA_REGION, metadata)):
        made += REGION_ENTRY.pack(guid, offset, length, 1)
    return _summed(made.ljust(REGION_TABLE_SIZE, b"\0"))


def _summed(data: bytes) -> bytes:
    return data[:4] + crc32c(data).to_bytes(4, "little") + data[8:]


def metadata_region(choices: Choices, disk_id: bytes, sector: int) -> bytes:
    """The table and the items behind it. At most MIB long."""
    flags = (FIXED if choices.fixed else 0) | (HAS_PARENT if choices.parent else 0)
    disk = IS_VIRTUAL_DISK | IS_REQUIRED
    items = [
        (FILE_PARAMETERS_ITEM, FILE_PARAMETERS.pack(choices.block, flags), IS_REQUIRED),
        (VIRTUAL_DISK_SIZE_ITEM, choices.size.to_bytes(8, "little"), disk),
        (VIRTUAL_DISK_ID_ITEM, disk_id, disk),
        (LOGICAL_SECTOR_ITEM, sector.to_bytes(4, "little"), disk),
        (PHYSICAL_SECTOR_ITEM, sector.to_bytes(4, "little"), disk),
    ]
    if choices.parent:
        items.append((PARENT_LOCATOR_ITEM, locator(choices.parent, choices.linkage), IS_REQUIRED))
    table = METADATA_HEAD.pack(METADATA_MAGIC, 0, len(items), bytes(20))
    body = b""
    for item, data, kind in items:
        table += METADATA_ENTRY.pack(item, METADATA_TABLE + len(body), len(data), kind, 0)
        body += data
    made = table.ljust(METADATA_TABLE, b"\0") + body
    assert len(made) <= MIB  # noqa: S101 - a name of 64 KiB is the longest part
    return made


def locator(parent: str, linkage: str) -> bytes:
    """The parent locator: which parent, and by what name; slashes are turned into the backslashes of Windows."""
    texts = [
        ("parent_linkage", "{" + linkage + "}"),
        ("relative_path", parent.replace("/", "\\")),
    ]
    head = LOCATOR_HEAD.pack(LOCATOR_TYPE, 0, len(texts))
    at = len(head) + len(texts) * LOCATOR_ENTRY.size
    body = b""
    for key, value in texts:
        one, other = encode(key), encode(value)
        head += LOCATOR_ENTRY.pack(at + len(body), at + len(body) + len(one), len(one), len(other))
        body += one + other
    return head + body
