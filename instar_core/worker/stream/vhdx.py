"""The size of the disk of a VHDX image. Source: [MS-VHDX] 2.2.3 (Region Table) and 2.6 (Metadata Region)."""

from __future__ import annotations

from struct import Struct

from instar_core.worker.stream.words import Verdict, Wanted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from instar_core.worker.stream.words import Piece

FILE_TYPE = b"vhdxfile"
REGION_TABLE = Struct("<4s4xI4x")
"""Signature, (Checksum), EntryCount"""
REGION_ENTRY = Struct("<16sQI4x")
"""Guid, FileOffset, Length"""
METADATA_TABLE = Struct("<8s2xH20x")
"""Signature, EntryCount"""
METADATA_ENTRY = Struct("<16sII8x")
"""ItemId, Offset, Length"""
METADATA_REGION = bytes.fromhex("06a27c8b90479a4bb8fe575f050f886e")
VIRTUAL_DISK_SIZE = bytes.fromhex("2442a52f1bcd7648b2115dbed83bf4b8")
MOST = 2047
"""Entries that either table may have."""
TABLE = 64 << 10
NOWHERE = 1 << 63
SIZE = Struct("<Q")


def examine(pieces: Mapping[str, Piece], options: Mapping[str, Any]) -> Verdict:
    """Region table, metadata table and the item are wanted in turn, each when the one before is whole."""
    match = pieces["ident"].data.startswith(FILE_TYPE)
    table = pieces["header"]
    if not match or not table.done:
        return Verdict(match)
    if "metadata" not in pieces:
        return _region(table.data)
    if "vds" not in pieces:
        metadata = pieces["metadata"]
        return _item(metadata) if metadata.done else Verdict(True)
    item = pieces["vds"].data
    return Verdict(True, SIZE.unpack(item)[0] if len(item) == SIZE.size else 0)


def _region(table: bytes) -> Verdict:
    """Where the metadata region lies. A table without one leaves the size unknown."""
    if table[:4] != b"regi":
        return Verdict(True, error="Region signature not found at 30000")
    _, count = REGION_TABLE.unpack_from(table.ljust(REGION_TABLE.size, b"\0"))
    if count > MOST:
        return Verdict(True, error=f"Region count is {count} (limit {MOST})")
    for index in range(count):
        at = REGION_TABLE.size + index * REGION_ENTRY.size
        if at + REGION_ENTRY.size > len(table):
            break
        guid, offset, _ = REGION_ENTRY.unpack_from(table, at)
        if guid == METADATA_REGION:
            if offset >= NOWHERE:
                return Verdict(True, error=f"Metadata region lies at {offset}, which is no place")
            return Verdict(True, wanted=(Wanted("metadata", offset, TABLE),))
    return Verdict(True)


def _item(metadata: Piece) -> Verdict:
    """Where the size of the disk stands."""
    data = metadata.data.ljust(METADATA_TABLE.size, b"\0")
    signature, count = METADATA_TABLE.unpack_from(data)
    if signature != b"metadata":
        return Verdict(True, error=f"Invalid signature for metadata region: {signature!r}")
    if count > MOST:
        return Verdict(True, error=f"Metadata item count is {count} (limit {MOST})")
    for index in range(count):
        at = METADATA_TABLE.size + index * METADATA_ENTRY.size
        if at + METADATA_ENTRY.size > len(data):
            break
        guid, offset, length = METADATA_ENTRY.unpack_from(data, at)
        if guid == VIRTUAL_DISK_SIZE:
            if length != SIZE.size:
                return Verdict(True, error=f"Virtual disk size has {length} bytes")
            return Verdict(True, wanted=(Wanted("vds", metadata.offset + offset, length),))
    return Verdict(True)
