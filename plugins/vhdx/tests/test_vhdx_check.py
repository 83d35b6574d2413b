"""What a check finds, beside what qemu-img check finds, and what a repair mends."""

from __future__ import annotations

import random
import re
import struct

import pytest
from instar_vhdx import hooks

from instar_core.errors import FormatError
from instar_core.source import Image
from instar_core.testing.executor import change
from instar_core.testing.medium import Disk, source
from instar_core.testing.subject import Subject, load_spec
from instar_core.types import Finding, Repair, Severity, Tally

MIB = 1 << 20
TABLE = 3 * MIB


def built(builder, *entries, blocks=4):
    """An image of four blocks, the first two there, with these entries in place of the first of its table."""
    image = builder.Image(blocks * MIB)
    for number in range(2):
        image.put(number, builder.FULL, b"content")
    file = bytearray(image.build())
    struct.pack_into(f"<{len(entries)}Q", file, TABLE, *entries)
    return bytes(file)


def bad(findings):
    return [found for found in findings if isinstance(found, Finding) and found.severity == Severity.CORRUPTION]


@pytest.mark.oracle
@pytest.mark.parametrize(
    "entries",
    [
        (),
        (100 * MIB | 6, 5 * MIB | 6),
        (4 * MIB | 6, 6 * MIB | 6),
        ((1 << 44) - 1 << 20 | 6,),
        (100 * MIB | 6,) * 4,
        (2 * MIB | 6, 3 * MIB | 6, MIB | 6),
        (2 * MIB | 6, (1 << 44) - 1 << 20 | 6, (1 << 44) - 2 << 20 | 6, 200 * MIB | 6),
    ],
    ids=str,
)
def test_lines_and_counts_are_qemu_imgs(entries, tmp_path, builder, host, programs):
    path = tmp_path / "disk.vhdx"
    path.write_bytes(built(builder, *entries))
    said = programs.img("check", "-f", "vhdx", path, check=False)
    with host.Opened(path) as opened:
        findings = opened.findings()
    lines = [line.partition(": ")[2] for line in said.stderr.decode().splitlines()]
    assert [found.text for found in bad(findings)] == lines
    count = re.search(rb"(\d+) errors were found", said.stdout)
    assert sum(found.count for found in bad(findings)) == (int(count[1]) if count else 0)
    assert said.returncode == (2 if lines else 0)
    assert findings[-1] == Tally()


@pytest.mark.parametrize(
    "entries, text",
    [
        ((4 * MIB | 6, 4 * MIB | 6), "VHDX blocks overlap at 4194304"),
        ((4 * MIB | 6, 5 * MIB | 4), "VHDX BAT entry 1 has state 4, which does not exist"),
        ((4 * MIB | 7,), "VHDX BAT entry 0 is partially present, but there is no parent"),
        ((6,), "VHDX region 0-1048576 overlaps with the headers"),
    ],
)
def test_what_qemu_img_overlooks_is_found(entries, text, tmp_path, builder, host):
    path = tmp_path / "disk.vhdx"
    path.write_bytes(built(builder, *entries))
    with host.Opened(path) as opened:
        assert text in [found.text for found in bad(opened.findings())]


def test_a_sector_bitmap_that_is_needed_must_be_there(tmp_path, builder, host):
    image = builder.child(4 * MIB)
    image.partial(0, {1: b"x"})
    file = bytearray(image.build())
    place = TABLE + 8 * image.ratio
    path = tmp_path / "disk.vhdx"
    for entry, text in (
        (0, "The sector bitmap of VHDX chunk 0 is needed, but not present"),
        (99 * MIB | 6, "The sector bitmap of VHDX chunk 0 is not inside the file"),
        (4 * MIB | 6, "VHDX blocks overlap at 4194304"),
        (2 * MIB | 6, "VHDX region 2097152-3145728 overlaps with region 2097152-3145728"),
    ):
        struct.pack_into("<Q", file, place, entry)
        path.write_bytes(file)
        with host.Opened(path) as opened:
            assert [found.text for found in bad(opened.findings())] == [text]


def test_damaged_copies_are_told_and_mended(tmp_path, builder, host):
    good = built(builder)
    path = tmp_path / "disk.vhdx"
    for place, text, severity in (
        (65536 + 80, "Header 1 is damaged", Severity.NOTE),
        (131072 + 80, "Header 2 is damaged", Severity.NOTE),
        (196608 + 100, "Region table 1 is damaged", Severity.CORRUPTION),
        (262144 + 100, "Region table 2 is damaged", Severity.NOTE),
    ):
        path.write_bytes(good[:place] + b"!" + good[place + 1 :])
        with host.Opened(path) as opened:
            found = opened.findings()
        assert [(one.text, one.severity, one.repairable) for one in found[:-1]] == [(text, severity, True)]
        host.repair(path, "leaks")
        with host.Opened(path) as opened:
            assert opened.findings() == [Tally()]


@pytest.mark.parametrize("start", (0, MIB - 8192))
def test_a_repair_replays_the_log(start, tmp_path, builder, host):
    old, new = builder.dirty(start=start)
    path, other = tmp_path / "dirty.vhdx", tmp_path / "clean.vhdx"
    path.write_bytes(old)
    other.write_bytes(new)
    with host.Opened(path) as opened:
        found = bad(opened.findings())
        assert [(one.text, one.repairable) for one in found] == [("The log has 3 entries that must be replayed", True)]
    assert host.repair(path, "leaks") == []
    host.repair(path)
    with host.Opened(path) as opened, host.Opened(other) as clean:
        assert opened.findings() == [Tally()]
        assert opened.info.dirty is False
        assert opened.info.extra["identity"] == clean.info.extra["identity"]
        want = clean.content()
        assert opened.content() == want
    data = path.read_bytes()
    assert data[TABLE : TABLE + 4096] == new[TABLE : TABLE + 4096]


@pytest.mark.oracle
def test_qemu_img_refuses_a_log_that_must_be_replayed_and_replays_it_the_same_way(tmp_path, builder, host, programs):
    """quirk("vhdx-dirty-log")"""
    old, _ = builder.dirty()
    ours, theirs = tmp_path / "ours.vhdx", tmp_path / "theirs.vhdx"
    ours.write_bytes(old)
    theirs.write_bytes(old)
    refused = programs.img("info", theirs, check=False)
    assert refused.returncode == 1
    assert b"contains a log that needs to be replayed" in refused.stderr
    with host.Opened(ours) as opened:
        before = opened.content()
    programs.img("check", "-r", "all", theirs)
    host.repair(ours)
    programs.img("check", ours)
    assert programs.content(theirs) == programs.content(ours) == before
    assert ours.read_bytes()[TABLE:] == theirs.read_bytes()[TABLE:]


@pytest.mark.parametrize("seed", range(4))
def test_a_repair_cut_anywhere_leaves_the_same_content(seed, builder):
    """Torn writes after the last barrier included."""
    choose = random.Random(seed)
    old, new = builder.dirty(start=choose.choice((0, MIB - 4096)))
    subject = Subject(load_spec("vhdx"))
    clean = Image([source(Disk(new))])
    want = list(subject.map(clean, 0, 6 * MIB))
    history = change(subject, [Disk(old)], Repair("all", 0, choose.randbytes(64)))
    for count in range(len(history.steps) + 1):
        for files in (history.prefix(count), history.cut(count, choose)):
            image = Image([source(files[0])])
            assert list(subject.map(image, 0, 6 * MIB)) == want, f"cut after step {count}"


def test_a_log_over_headers_or_itself_is_not_replayed(builder):
    for place, words in ((65536, "headers or log"), (MIB + 8192, "headers or log")):
        image = builder.Image(MIB)
        image.log_guid = builder.GUID
        image.log = {0: builder.entry(1, 0, builder.GUID, [(place, bytes(4096))], flushed=0, last=0)}
        disk = Disk(image.build())
        with pytest.raises(FormatError, match=words):
            list(hooks.instar_write(Image([source(disk)]), Repair("all"), iter(())))


def test_a_repair_makes_the_file_as_long_as_its_log_says(tmp_path, builder, host):
    image = builder.Image(MIB)
    image.log_guid = builder.GUID
    image.log = {0: builder.entry(1, 0, builder.GUID, [(TABLE, bytes(4096))], flushed=0, last=9 * MIB)}
    path = tmp_path / "disk.vhdx"
    path.write_bytes(image.build())
    host.repair(path)
    assert path.stat().st_size == 9 * MIB


def test_a_log_in_use_without_a_valid_entry_is_told_and_mended(tmp_path, builder, host):
    old, _ = builder.dirty(entries=1, torn=True)
    path = tmp_path / "disk.vhdx"
    path.write_bytes(old)
    with host.Opened(path) as opened:
        found = opened.findings()
        assert [(one.text, one.repairable) for one in found[:-1]] == [
            ("The log is in use, but holds nothing that can be replayed", True)
        ]
    host.repair(path)
    with host.Opened(path) as opened:
        assert opened.findings() == [Tally()]
