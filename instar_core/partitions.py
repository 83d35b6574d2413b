"""The partition table of a raw disk, as its first bytes show it, and what is wrong with it.

Sources: UEFI Specification 2.10, section 5 (GUID partition table); the table of the master boot record as in its 5.2.
Offsets are bytes of the disk.
"""

from __future__ import annotations

from struct import Struct

from instar_core import signatures

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import NamedTuple
else:
    from instar_core.record import NamedTuple

MBR, GPT = "MBR", "GPT"
TABLE, ENTRY, ENTRIES, MAGIC = 446, 16, 4, 510
PARTITION = Struct("<B3sB3sII")
PROTECTIVE = 0xEE
START = b"\0\2\0"
"""Head 0, sector 2, cylinder 0: where a protective partition begins."""
HEADER = Struct("<8sIIIIQQQQ16sQIII")
REVISION = 0x00010000
MOST = 1 << 16
"""Most entries of a GUID partition table that are believed: the usual number is 128."""


class Table(NamedTuple):
    """`name` is MBR, GPT or empty; `partitioned` says whether it has a partition; `problems` are sentences with the
    byte of the disk that they are about."""

    name: str
    partitioned: bool
    problems: tuple[tuple[str, int], ...] = ()


def table(head: bytes, size: int) -> Table:
    """The partition table of a disk of `size` bytes that begins with `head`. Raises nothing, whatever that holds."""
    header = _header(head)
    if not header and (head[MAGIC : MAGIC + 2] != signatures.BOOT or signatures.has_fat(head)):
        return Table("", False)
    entries = [PARTITION.unpack_from(head, TABLE + ENTRY * index) for index in range(ENTRIES)]
    used = [index for index, entry in enumerate(entries) if entry[2]]
    name = GPT if header or any(entry[2] == PROTECTIVE for entry in entries) else MBR
    problems = list(_of_record(head, entries, used))
    if name == GPT:
        problems += _of_guids(head, size, header) if header else [("there is no GUID partition table", 512)]
    return Table(name, bool(header or used), tuple(problems))


def _header(head: bytes) -> int:
    """The sector size with which a GUID partition table's header stands in the second sector; 0 where none does."""
    for sector in (512, 4096):
        if head[sector : sector + 8] == b"EFI PART":
            return sector
    return 0


def _of_record(
    head: bytes, entries: list[tuple[int, bytes, int, bytes, int, int]], used: list[int]
) -> Iterator[tuple[str, int]]:
    """What is wrong with the master boot record."""
    if head[MAGIC : MAGIC + 2] != signatures.BOOT:
        yield "there is no protective master boot record", MAGIC
        return
    for index, (active, begin, kind, _, start, _) in enumerate(entries):
        place = TABLE + ENTRY * index
        if active & 0x7F:
            yield f"entry {index + 1} of the master boot record has the boot flag {active:#x}", place
        if kind == PROTECTIVE and begin != START:
            yield f"the protective entry {index + 1} begins at the wrong cylinder, head and sector", place + 1
        if kind == PROTECTIVE and start != 1:
            yield f"the protective entry {index + 1} begins at sector {start}, not 1", place + 8
    if any(entries[index][2] == PROTECTIVE for index in used) and used != [0]:
        yield "the master boot record has further partitions beside the protective one", TABLE
    if not used:
        yield "the master boot record has no partition", TABLE


def _of_guids(head: bytes, size: int, sector: int) -> Iterator[tuple[str, int]]:
    """What is wrong with the GUID partition table whose header is in the second sector."""
    from zlib import crc32

    if len(head) < sector + HEADER.size:
        yield "the disk ends within the header of the GUID partition table", sector
        return
    fields = HEADER.unpack_from(head, sector)
    _, revision, length, checksum, reserved, own, _, first, last, _, array, count, width, arrays = fields
    if revision != REVISION or not 92 <= length <= sector or reserved:
        yield "the header of the GUID partition table is of no known revision", sector
        return
    if crc32(head[sector : sector + 16] + bytes(4) + head[sector + 20 : sector + length]) != checksum:
        yield "the checksum of the GUID partition table's header is wrong", sector + 16
    if own != 1:
        yield f"the GUID partition table says that it is in sector {own}, not 1", sector + 24
    if first > last or last >= size // sector:
        yield f"the GUID partition table is for sectors {first} to {last}; the disk has {size // sector}", sector + 40
    if width < 128 or width & (width - 1) or not 0 < count <= MOST // width * 128:
        yield f"the GUID partition table has {count} entries of {width} bytes", sector + 80
        return
    begin, end = array * sector, array * sector + count * width
    if array < 2 or end > size:
        yield "the entries of the GUID partition table lie outside of their place", sector + 72
    elif end <= len(head) and crc32(head[begin:end]) != arrays:
        yield "the checksum of the GUID partition table's entries is wrong", sector + 88
