"""Repairs: what qemu-img finds afterwards, what the disk reads as, and what a power cut leaves."""

from __future__ import annotations

import random

import pytest

from instar_core.source import Image
from instar_core.testing import Subject
from instar_core.testing.executor import change
from instar_core.testing.medium import Disk, source
from instar_core.testing.subject import load_spec
from instar_core.types import Kind, Repair

K64 = 65536
CUTS = 60


def cases(builder):
    """Images with something wrong each, by name."""
    old, ext = builder.OLD, builder.EXT
    shared = [0, None, 1, 0, 2, 1, 1]
    lost = [0, 1, 2, 3, None]
    made = {}
    for magic, name in ((old, "old"), (ext, "ext")):
        made[f"{name} dirty"] = builder.build([0, None, 1], magic=magic, in_use=builder.IN_USE)
        made[f"{name} tail"] = builder.build([0, None, 1], magic=magic, tail=3 * K64 + 100)
        made[f"{name} shared"] = builder.build(shared, magic=magic)
        made[f"{name} outside"] = builder.build(lost, magic=magic)[: -2 * K64 + 512]
        made[f"{name} data_off"] = builder.changed(builder.build([1, 0], magic=magic), "data", 1 << 20)
        made[f"{name} all of it"] = builder.build(
            shared, magic=magic, in_use=builder.IN_USE, tail=K64, raw=[(1, 0xFFFFFF)]
        )
        made[f"{name} nothing there"] = builder.build(lost, magic=magic)[:512]
    made["outside where the copies go"] = builder.build([0, 0, 9, 1, 1, 4], magic=ext, stored=2)
    made["old between clusters"] = builder.build([0, None, 1], magic=old, raw=[(1, 129)])
    return made


NAMES = [
    *(
        f"{magic} {what}"
        for magic in ("old", "ext")
        for what in ("dirty", "tail", "shared", "outside", "data_off", "all of it", "nothing there")
    ),
    "outside where the copies go",
    "old between clusters",
]


def content(subject, disk):
    """What the image reads as."""
    image = Image([source(disk)])
    parts = []
    for extent in subject.map(image, 0, subject.info(image).virtual_size):
        data = disk.read(extent.offset, extent.length) if extent.kind == Kind.DATA else b""
        parts.append(data.ljust(extent.length, b"\0"))
    return b"".join(parts)


def faults(subject, disk):
    return [found for found in subject.check(Image([source(disk)])) if getattr(found, "severity", 0)]


@pytest.mark.parametrize("name", NAMES)
def test_a_repair_leaves_nothing_to_find_and_the_content_as_it_was(name, builder):
    subject = Subject(load_spec("parallels"))
    disk = Disk(cases(builder)[name])
    assert all(one.repairable for one in faults(subject, disk))
    after = change(subject, [disk], Repair("all")).files[0]
    assert faults(subject, after) == []
    assert content(subject, after) == content(subject, disk)


@pytest.mark.oracle
@pytest.mark.parametrize("name", NAMES)
def test_qemu_finds_nothing_in_what_was_mended(name, tmp_path, builder, programs, mended, opened):
    programs.recent()
    path = tmp_path / "mended.hdd"
    path.write_bytes(cases(builder)[name])
    before = opened(path).content()
    mended(path)
    assert programs.check(path) == (0, [])
    assert programs.content(path) == before


@pytest.mark.oracle
@pytest.mark.parametrize("name", ("ext dirty", "ext tail", "ext outside", "ext data_off", "old shared"))
def test_it_is_mended_as_qemu_mends_it(name, tmp_path, builder, programs, mended):
    ours, theirs = tmp_path / "ours.hdd", tmp_path / "theirs.hdd"
    for path in (ours, theirs):
        path.write_bytes(cases(builder)[name])
    mended(ours)
    programs.img("check", "-f", "parallels", "-r", "all", theirs, check=False)
    assert ours.read_bytes()[:4096] == theirs.read_bytes()[:4096]
    assert ours.stat().st_size == theirs.stat().st_size


@pytest.mark.parametrize("name", NAMES)
def test_a_repair_of_leaks_shortens_the_file_and_no_more(name, builder):
    subject = Subject(load_spec("parallels"))
    disk = Disk(cases(builder)[name])
    after = change(subject, [disk], Repair("leaks")).files[0]
    assert [one for one in faults(subject, after) if one.severity == 1] == []
    assert after.read(0, after.size) == disk.read(0, after.size)
    assert len(faults(subject, after)) == len([one for one in faults(subject, disk) if one.severity == 2])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("mode", ("leaks", "all"))
def test_a_repair_cut_anywhere_reads_as_before_and_is_no_worse(name, mode, builder):
    choose = random.Random(name + mode)
    subject = Subject(load_spec("parallels"))
    disk = Disk(cases(builder)[name])
    want = content(subject, disk)
    bad = sum(one.count for one in faults(subject, disk) if one.severity == 2)
    history = change(subject, [disk], Repair(mode))
    steps = len(history.steps)
    for _ in range(CUTS):
        count = choose.randrange(steps + 1)
        for left in (history.prefix(count)[0], history.cut(count, choose)[0]):
            assert content(subject, left) == want
            assert sum(one.count for one in faults(subject, left) if one.severity == 2) <= bad
            again = change(subject, [left], Repair(mode)).files[0]
            assert content(subject, again) == want
            assert [one for one in faults(subject, again) if one.severity == 1 or mode == "all"] == []


def test_bitmaps_survive_a_repair(builder):
    base = builder.build([0, 0, 1, None])
    data = builder.extended(base, builder.bitmap(512, 8, [len(base) // 512]), builder.END, before=1)
    subject = Subject(load_spec("parallels"))
    disk = Disk(builder.changed(data + b"x" * 5000, "in_use", builder.IN_USE))
    after = change(subject, [disk], Repair("all")).files[0]
    assert faults(subject, after) == []
    assert content(subject, after) == content(subject, disk)
    info = subject.info(Image([source(after)]))
    assert [one.granularity for one in info.bitmaps] == [4096]
    assert info.extra["state"] == "closed by an old program"


def test_the_lines_of_a_repair_say_so(builder):
    subject = Subject(load_spec("parallels"))
    data = Disk(builder.build([0, 0, 5], in_use=builder.IN_USE, stored=1, tail=512))
    for mode, word in ((None, "ERROR"), ("all", "Repairing")):
        image = Image([source(data)], {"repair": mode} if mode else {})
        lines = [found.text for found in subject.check(image) if hasattr(found, "severity")]
        assert lines == [
            f"{word} image was not closed correctly",
            f"{word} cluster 2 is outside image",
            f"{word} space leaked at the end of the image 512",
            f"{word} duplicate offset in BAT entry 1",
        ]
    image = Image([source(data)], {"repair": "leaks"})
    assert [found.text.split()[0] for found in subject.check(image) if hasattr(found, "severity")] == [
        *("ERROR", "ERROR", "Repairing", "ERROR"),
    ]
