"""VHDX files: little-endian, everything with its CRC-32C.

In MiB: headers at 0, log at 1, metadata at 2, block allocation table at 3, blocks from 4 on.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from struct import pack
from typing import Any

from ..case import MIB, Blob

BAT = uuid.UUID("2DC27766-F623-4200-9D64-115E9BFD4A08")
METADATA = uuid.UUID("8B7CA206-4790-4B9A-B8FE-575F050F886E")
FILE_PARAMETERS = uuid.UUID("CAA16737-FA36-4D43-B3B6-33F0AA44E76B")
DISK_SIZE = uuid.UUID("2FA54224-CD1B-4876-B211-5DBED83BF4B8")
DISK_ID = uuid.UUID("BECA12AB-B2E6-4523-93EF-C309E000C746")
LOGICAL = uuid.UUID("8141BF1D-A96F-4709-BA47-F233A8FAAB5F")
PHYSICAL = uuid.UUID("CDA348C7-445D-4471-9CC9-E9885251C556")
PARENT = uuid.UUID("A8D35F2D-B30B-454D-ABF7-D3D84834AB0C")
LOCATOR = uuid.UUID("B04AEFB7-D19E-4A81-B789-25B8E9445913")
OWN = uuid.UUID("aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee")
LOG = uuid.UUID("01234567-89ab-4def-8123-456789abcdef")
ZERO, UNMAPPED, FULL, PARTIAL = 2, 3, 6, 7


def _crc(data: bytes) -> int:
    value = 0xFFFFFFFF
    for byte in data:
        value = _TABLE[(value ^ byte) & 0xFF] ^ (value >> 8)
    return value ^ 0xFFFFFFFF


def _entry(value: int) -> int:
    for _ in range(8):
        value = (value >> 1) ^ (0x82F63B78 if value & 1 else 0)
    return value


_TABLE = [_entry(number) for number in range(256)]


def summed(data: bytes) -> bytes:
    """The structure with its checksum, four bytes at offset 4."""
    return data[:4] + pack("<I", _crc(data[:4] + bytes(4) + data[8:])) + data[8:]


def header(sequence: int, **fields: Any) -> bytes:
    """A header."""
    own: dict[str, Any] = {
        "log": bytes(16),
        "log_version": 0,
        "version": 1,
        "log_length": MIB,
        "log_offset": MIB,
        "identity": OWN,
    }
    own.update(fields)
    made = pack("<4sIQ", b"head", 0, sequence) + bytes(16) + own["identity"].bytes_le + own["log"]
    made += pack("<HHIQ", own["log_version"], own["version"], own["log_length"], own["log_offset"])
    return summed(made.ljust(4096, b"\0"))


def regions(entries: Sequence[tuple[uuid.UUID, int, int, int]], count: int | None = None) -> bytes:
    """A region table of (guid, offset, length, required)."""
    made = pack("<4sIII", b"regi", 0, len(entries) if count is None else count, 0)
    for guid, offset, length, required in entries:
        made += guid.bytes_le + pack("<QII", offset, length, required)
    return summed(made.ljust(65536, b"\0"))


def locator(pairs: Sequence[tuple[str, str]], count: int | None = None) -> bytes:
    """A parent locator."""
    texts = [(key.encode("utf-16-le"), value.encode("utf-16-le", "surrogatepass")) for key, value in pairs]
    made = LOCATOR.bytes_le + pack("<HH", 0, len(texts) if count is None else count)
    at, body = 20 + 12 * len(texts), b""
    for key, value in texts:
        made += pack("<IIHH", at + len(body), at + len(body) + len(key), len(key), len(value) & 0xFFFF)
        body += key + value
    return made + body


def metadata(items: Sequence[tuple[uuid.UUID, bytes, int]], count: int | None = None, **places: Any) -> bytes:
    """The metadata region; `places` replace (offset, length) of the item with that number, as item0 and so on."""
    table = b"metadata" + pack("<HH20s", 0, len(items) if count is None else count, bytes(20))
    body = b""
    for number, (guid, data, flags) in enumerate(items):
        place = places.get(f"item{number}", (65536 + len(body), len(data)))
        table += guid.bytes_le + pack("<IIII", *place, flags, 0)
        body += data
    return table.ljust(65536, b"\0") + body


def parent(name: str, key: str = "relative_path") -> list[tuple[str, str]]:
    """The locator of a parent of that name, which has this file's own identity."""
    return [("parent_linkage", "{" + str(OWN) + "}"), (key, name)]


def image(
    *,
    size: int = 4 * MIB,
    block: int = MIB,
    logical: int = 512,
    parent: Sequence[tuple[str, str]] = (),
    table: Mapping[int, int] | None = None,
    items: Sequence[tuple[uuid.UUID, bytes, int]] | None = None,
    more_items: Sequence[tuple[uuid.UUID, bytes, int]] = (),
    region: Sequence[tuple[uuid.UUID, int, int, int]] | None = None,
    log: bytes = b"",
    file: int = 4 * MIB,
    more: Sequence[tuple[int, bytes]] = (),
    **fields: Any,
) -> Blob:
    """An image; `table` has entries by index, `fields` replace those of headers, tables and places."""
    flags = 2 if parent else 0
    own = items or [
        (LOGICAL, pack("<I", logical), 6),
        (DISK_ID, bytes(16), 6),
        (FILE_PARAMETERS, pack("<II", block, flags), 4),
        (PHYSICAL, pack("<I", 4096), 6),
        (DISK_SIZE, pack("<Q", size), 6),
    ]
    if parent and not items:
        own = [*own, (PARENT, locator(parent, fields.get("locator_count")), 4)]
    own = [*own, *more_items]
    named = [(METADATA, 2 * MIB, MIB, 1), (BAT, 3 * MIB, MIB, 1)] if region is None else region
    head: dict[str, Any] = {
        key: fields[key] for key in ("log_version", "version", "log_length", "log_offset") if key in fields
    }
    if log:
        head["log"] = LOG.bytes_le
    blob = Blob(b"vhdxfile" + "forged".encode("utf-16-le"), file)
    blob.put(65536, header(7, **head)).put(131072, header(6, **head))
    table_bytes = regions(named, fields.get("region_count"))
    blob.put(196608, table_bytes).put(262144, table_bytes).put(MIB, log)
    places = {key: value for key, value in fields.items() if key.startswith("item")}
    blob.put(2 * MIB, metadata(own, fields.get("items_count"), **places))
    for index, entry in (table or {}).items():
        blob.put(3 * MIB + 8 * index, pack("<Q", entry))
    for offset, data in more:
        blob.put(offset, data)
    return blob


def log_entry(
    sequence: int,
    tail: int,
    changes: Sequence[tuple[int, bytes | int]],
    *,
    last: int = 4 * MIB,
    flushed: int = 4 * MIB,
    count: int | None = None,
) -> bytes:
    """A log entry; `changes` are (offset, 4096 bytes) or (offset, number of zeros)."""
    descriptors, sectors = b"", b""
    for offset, what in changes:
        if isinstance(what, int):
            descriptors += b"zero" + bytes(4) + pack("<QQQ", what, offset, sequence)
            continue
        descriptors += b"desc" + what[-4:] + what[:8] + pack("<QQ", offset, sequence)
        sectors += b"data" + pack("<I", sequence >> 32) + what[8:-4] + pack("<I", sequence & 0xFFFFFFFF)
    size = -(-(64 + len(descriptors)) // 4096) * 4096 + len(sectors)
    made = b"loge" + pack("<IIIQII", 0, size, tail, sequence, len(changes) if count is None else count, 0)
    made += LOG.bytes_le + pack("<QQ", flushed, last) + descriptors
    return summed(made.ljust(size - len(sectors), b"\0") + sectors)
