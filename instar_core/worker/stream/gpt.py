"""A partitioned disk by its first sector. Source: UEFI 2.10, section 5.2 (Legacy and Protective MBR)."""

from __future__ import annotations

from struct import Struct

from instar_core.worker.stream.words import Verdict

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from instar_core.worker.stream.words import Piece

SECTOR = 512
SIGNATURE = b"\x55\xaa"
TABLE = 446
ENTRY = Struct("<B3sB3sII")
"""BootIndicator, StartingCHS, OSType, EndingCHS, StartingLBA, SizeInLBA"""
ENTRIES = 4
PROTECTIVE = 0xEE
PROTECTIVE_CHS = b"\x00\x02\x00"
NUMBER_OF_FATS, MEDIA = 0x10, 0x15
FIXED_DISK = 0xF8


def examine(pieces: Mapping[str, Piece], options: Mapping[str, Any]) -> Verdict:
    """A boot signature is a match, unless the sector is that of a FAT file system on a fixed disk.

    Safe is a table in which something is defined, each entry is active or not, and a protective one stands alone, as
    UEFI has it.
    """
    mbr = pieces["mbr"].data
    if len(mbr) < SECTOR or mbr[510:512] != SIGNATURE:
        return Verdict(False)
    if mbr[NUMBER_OF_FATS] == 2 and mbr[MEDIA] == FIXED_DISK:
        return Verdict(False)
    reason = fault(mbr)
    return Verdict(True, failures={"mbr": reason} if reason else {})


def fault(mbr: bytes) -> str:
    """What is wrong with the table; empty where nothing is."""
    defined = []
    protective = False
    for index in range(ENTRIES):
        active, start, kind, _, first, _ = ENTRY.unpack_from(mbr, TABLE + index * ENTRY.size)
        if active not in (0x00, 0x80):
            return f"MBR PTE {index} has invalid boot flag"
        if kind:
            defined.append(index)
        if kind == PROTECTIVE:
            protective = True
            if start != PROTECTIVE_CHS:
                return "GPT MBR has invalid start CHS"
            if first != 1:
                return "GPT MBR has invalid start LBA"
    if protective and defined != [0]:
        return "GPT MBR defines invalid extra partitions"
    return "" if defined else "GPT MBR has no partitions defined"
