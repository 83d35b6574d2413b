"""The partition table of a raw disk, and what is wrong with it."""

from __future__ import annotations

import struct
import zlib

import pytest

from instar_core import partitions
from instar_core.errors import ContractViolation
from instar_core.partitions import Table, table
from instar_core.validate import partitions as validated

SIZE = 1 << 20
LINUX = (0x80, b"\0\2\0", 0x83, b"\xff\xff\xff", 1, 2047)
PROTECTIVE = (0, b"\0\2\0", 0xEE, b"\xff\xff\xff", 1, 2047)
TYPE = bytes(range(16))


def record(*entries: tuple[int, bytes, int, bytes, int, int]) -> bytes:
    """A first sector with these partitions."""
    packed = b"".join(partitions.PARTITION.pack(*entry) for entry in entries)
    return bytes(446) + packed.ljust(64, b"\0") + b"\x55\xaa"


def guids(sector: int = 512, **changed: int) -> bytes:
    """A header with its checksum, and 128 entries from sector 2 on; `changed` are fields that are otherwise."""
    entries = (TYPE + TYPE + struct.pack("<QQQ", 34, 40, 0) + bytes(72)).ljust(128 * 128, b"\0")
    fields = {
        "revision": 0x10000, "length": 92, "own": 1, "first": 34, "last": SIZE // sector - 34, "array": 2,
        "count": 128, "width": 128, "arrays": zlib.crc32(entries), **changed,
    }  # fmt: skip

    def packed(checksum: int) -> bytes:
        return partitions.HEADER.pack(
            b"EFI PART", fields["revision"], fields["length"], checksum, 0, fields["own"], SIZE // sector - 1,
            fields["first"], fields["last"], bytes(16), fields["array"], fields["count"], fields["width"],
            fields["arrays"],
        )  # fmt: skip

    checksum = fields.get("checksum", zlib.crc32(packed(0)))
    return packed(checksum).ljust(sector, b"\0") + entries


def disk(first: bytes, rest: bytes = b"", sector: int = 512) -> bytes:
    """The beginning of a disk."""
    return (first.ljust(sector, b"\0") + rest).ljust(72 << 10, b"\0")


def texts(found: Table) -> str:
    return "; ".join(text for text, _ in found.problems)


def test_a_disk_without_a_boot_record_has_no_table() -> None:
    assert table(bytes(4096), SIZE) == ("", False, ())
    assert table(b"", 0) == ("", False, ())


def test_a_record_with_a_partition_is_sound() -> None:
    assert table(record(LINUX), SIZE) == ("MBR", True, ())


def test_a_fat_boot_sector_is_no_partition_table() -> None:
    boot = b"\xeb\x3c\x90" + b"mkdosfs\0" + struct.pack("<HBHBHHB", 512, 4, 1, 2, 512, 2048, 0xF8)
    assert table(boot.ljust(510, b"\0") + b"\x55\xaa", SIZE).name == ""


@pytest.mark.parametrize("sector", [512, 4096])
def test_a_sound_table_of_guids_has_no_problems(sector: int) -> None:
    assert table(disk(record(PROTECTIVE), guids(sector), sector), SIZE) == ("GPT", True, ())


@pytest.mark.parametrize(
    ("entries", "problem"),
    [
        ((), "the master boot record has no partition"),
        (((0x12, *LINUX[1:]),), "entry 1 of the master boot record has the boot flag 0x12"),
        ((LINUX, (0, b"\1\1\1", *PROTECTIVE[2:])), "the protective entry 2 begins at the wrong cylinder"),
        (((*PROTECTIVE[:4], 7, 9),), "the protective entry 1 begins at sector 7, not 1"),
        ((PROTECTIVE, LINUX), "further partitions beside the protective one"),
        ((PROTECTIVE,), "there is no GUID partition table"),
    ],
)
def test_what_is_wrong_with_a_boot_record_is_told(
    entries: tuple[tuple[int, bytes, int, bytes, int, int], ...], problem: str
) -> None:
    found = table(record(*entries), SIZE)
    assert problem in texts(found)
    assert found.partitioned == bool(entries)


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"checksum": 1}, "the checksum of the GUID partition table's header is wrong"),
        ({"arrays": 1}, "the checksum of the GUID partition table's entries is wrong"),
        ({"own": 2}, "says that it is in sector 2, not 1"),
        ({"last": SIZE // 512}, f"is for sectors 34 to {SIZE // 512}; the disk has {SIZE // 512}"),
        ({"revision": 7}, "of no known revision"),
        ({"length": 4096}, "of no known revision"),
        ({"count": 1 << 30}, "has 1073741824 entries of 128 bytes"),
        ({"width": 100}, "has 128 entries of 100 bytes"),
        ({"width": 0}, "has 128 entries of 0 bytes"),
        ({"array": 1 << 40}, "the entries of the GUID partition table lie outside"),
    ],
)
def test_what_is_wrong_with_a_table_of_guids_is_told(changed: dict[str, int], problem: str) -> None:
    assert problem in texts(table(disk(record(PROTECTIVE), guids(**changed)), SIZE))


def test_a_table_of_guids_without_its_boot_record_is_told() -> None:
    assert texts(table(disk(bytes(512), guids()), SIZE)) == "there is no protective master boot record"


def test_a_table_of_guids_that_the_disk_cuts_short_is_told() -> None:
    found = table(bytes(4096) + b"EFI PART" + bytes(20), 4124)
    assert found.partitioned
    assert "ends within the header" in texts(found)


def test_any_bytes_give_an_answer() -> None:
    whole = disk(record(PROTECTIVE), guids())
    for place in range(0, 1024, 3):
        for byte in (0, 0xFF):
            changed = whole[:place] + bytes([byte]) + whole[place + 1 :]
            assert validated(tuple(table(changed, SIZE))) == table(changed, SIZE)
    for length in (0, 511, 512, 600, 604, 4096, 4200):
        assert isinstance(table(whole[:length], length), Table)


@pytest.mark.parametrize(
    "value",
    [
        None,
        (),
        ("MBR", 1, ()),
        ("MBR", True, None),
        ("MBR", True, ("x",)),
        ("MBR", True, (("x",),)),
        ("MBR", True, ((1, 2),)),
    ],
)
def test_an_answer_of_another_shape_does_not_pass_the_door(value: object) -> None:
    with pytest.raises(ContractViolation):
        validated(value)
