"""What a check says of volumes that are not as ECMA-119 wants them."""

from __future__ import annotations

import struct

import pytest
from instar_iso import hooks, limits

from instar_core.source import Image, bytes_source
from instar_core.types import Finding, Severity, Tally

PRIMARY = 32768
BOOT = PRIMARY + 2048


def check(data):
    *found, tally = hooks.instar_check(Image([bytes_source(bytes(data))]))
    assert isinstance(tally, Tally)
    assert all(isinstance(one, Finding) and not one.repairable for one in found)
    return [(one.severity, one.text) for one in found], tally


def changed(data, at, new):
    return data[:at] + new + data[at + len(new) :]


def test_a_sound_volume_has_no_findings(builder):
    for data in (builder.image(), builder.image(boot=False), builder.image(b"")):
        assert check(data) == ([], Tally(end=len(data)))


@pytest.mark.oracle
def test_volumes_of_genisoimage_have_no_findings(volumes):
    for path in volumes.values():
        data = path.read_bytes()
        assert check(data) == ([], Tally(end=len(data)))


def test_what_comes_after_the_volume_is_a_note(builder):
    found, tally = check(builder.image(trailing=700))
    assert found == [(Severity.NOTE, "The file goes on for 700 bytes after the volume")]
    assert tally.end == len(builder.image())


CASES = {
    "space": (80, b"\xff\xff\xff\x7f", "The volume space size of the primary volume is 2147483647 in one byte order"),
    "set": (122, b"\0\2", "The volume set size of the primary volume is 1 in one byte order and 2 in the other"),
    "sequence": (124, b"\5", "The volume sequence number of the primary volume is 5 in one byte order and 1"),
    "block": (130, b"\4\0", "The logical block size of the primary volume is 2048 in one byte order and 1024"),
    "table": (136, b"\0\0\0\5", "The path table size of the primary volume is 10 in one byte order and 5"),
    "version": (6, b"\7", "The primary volume descriptor has the version 7"),
    "block 0": (128, b"\0\0\0\0", "A logical block of 0 bytes is not possible"),
    "block 3": (128, b"\3\0\0\3", "A logical block of 3 bytes is not possible"),
    "larger": (80, b"\0\0\1\0\0\1\0\0", "The primary volume has 134217728 bytes, but the file has"),
    "L": (140, b"\xff\xff\xff\xff", "The type L path table of the primary volume lies outside it"),
    "M": (148, b"\0\0\0\0", "The type M path table of the primary volume lies outside it"),
    "same": (148, b"\0\0\0\x10", "Directory 1 of the path table"),
    "no table": (132, b"\0" * 8, "The type L path table of the primary volume lies outside it"),
    "root twice": (158, b"\xff", "The root directory of the primary volume has two places"),
    "root short": (156, b"\1", "The root directory of the primary volume is no directory"),
    "root a file": (181, b"\0", "The root directory of the primary volume is no directory"),
    "root outside": (158, b"\0\0\1\0\0\1\0\0", "The root directory of the primary volume lies outside it"),
    "root elsewhere": (158, b"\x17\0\0\0\0\0\0\x17", "The root directory of the primary volume is not where"),
    "no primary": (0, b"\3", "There is no primary volume descriptor"),
}


@pytest.mark.parametrize("case", CASES)
def test_a_field_that_makes_no_sense_is_found(builder, case):
    at, new, text = CASES[case]
    data = builder.image()
    if case == "same":
        # Both tables at the first empty sectors: a directory without a name.
        data = changed(data, PRIMARY + 140, b"\x0f\0\0\0")
    found, _ = check(changed(data, PRIMARY + at, new))
    assert any(severity == Severity.CORRUPTION and line.startswith(text) for severity, line in found), found


def test_a_set_without_a_terminator_is_found_and_bounded(builder):
    data = builder.image()
    found, _ = check(changed(data, PRIMARY + 2 * 2048, b"\0"))
    assert found == [(Severity.CORRUPTION, "The volume descriptor set has no terminator")]
    endless = data[:PRIMARY] + data[PRIMARY : PRIMARY + 2048] * 1000
    found, _ = check(endless)
    assert len(found) <= 4 * limits.DESCRIPTORS
    assert (Severity.CORRUPTION, "The volume descriptor set has no terminator") in found
    assert check(data[: PRIMARY + 6])[0][0][0] == Severity.CORRUPTION


def test_a_file_shorter_than_its_volume_is_corrupt(builder):
    data = builder.image()
    found, _ = check(data[:-2048])
    assert found == [(2, f"The primary volume has {len(data)} bytes, but the file has {len(data) - 2048}")]


def test_path_tables_that_differ_are_found(builder):
    found, _ = check(changed(builder.image(), 20 * 2048 + 5, b"\x17"))
    assert found == [(2, "The two path tables of the primary volume differ at directory 1")]
    size = limits.PATH_TABLE + 1
    large = changed(builder.image(bytes(2 * size)), PRIMARY + 132, struct.pack("<I", size) + struct.pack(">I", size))
    assert (0, "The path table of the primary volume is too long to look at") in check(large)[0]


def test_a_boot_catalogue_is_looked_at(builder):
    data = builder.image()
    assert check(changed(data, BOOT + 71, b"\xff\xff\xff\xff"))[0] == [(2, "The boot catalogue lies outside the file")]
    for at, new in ((0, b"\2"), (10, b"x"), (30, b"\0")):
        assert check(changed(data, 22 * 2048 + at, new))[0] == [(2, "The boot catalogue is damaged")]


def test_info_never_depends_on_what_the_descriptors_say(builder):
    data = builder.image()
    for at in range(PRIMARY, PRIMARY + 3 * 2048, 7):
        said = hooks.instar_info(Image([bytes_source(changed(data, at, b"\xff"))]))
        assert said.virtual_size == len(data)
