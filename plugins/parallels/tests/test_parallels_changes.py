"""Changes of images that are there: judged by qemu-img, and by what a power cut leaves of them."""

from __future__ import annotations

import random

import pytest

from instar_core.changing import Changing
from instar_core.errors import FormatError
from instar_core.source import Image
from instar_core.testing import Subject, executor
from instar_core.testing.medium import Disk, source
from instar_core.testing.overwriting import INLINE, overwrite
from instar_core.testing.subject import load_spec
from instar_core.types import Kind, Repair, Resize, Severity, Update

MIB = 1 << 20
K64 = 65536
CUTS = 8


def change(path, request):
    with Changing(str(path), INLINE, format="parallels") as image:
        image.apply(request)


@pytest.fixture(scope="module")
def subject():
    return Subject(load_spec("parallels"))


@pytest.mark.oracle
@pytest.mark.parametrize("cluster", (K64, MIB, 200 * 512))
@pytest.mark.parametrize("seed", range(2))
def test_content_that_is_written_is_what_qemu_reads(seed, cluster, tmp_path, programs):
    choose = random.Random(seed)
    path, disk = tmp_path / "disk.hdd", bytearray(5 * MIB + 512 * 77)
    programs.img("create", "-q", "-f", "parallels", "-o", f"cluster_size={cluster}", path, len(disk))
    for _ in range(3):
        at = choose.randrange(0, len(disk) - 70000, 512)
        programs.io(path, f"write -P {at % 250 + 1} {at} 64k")
        disk[at : at + 65536] = bytes([at % 250 + 1]) * 65536
        spans = []
        for start in sorted(choose.sample(range(0, len(disk), MIB), 3)):
            length = min(len(disk) - start, choose.choice((MIB, 4096, 30000)))
            disk[start : start + length] = choose.choice((choose.randbytes(length), bytes(length)))
            spans.append((start, length))
        overwrite(str(path), "parallels", bytes(disk), spans)
        assert programs.content(path) == disk
        assert programs.check(path) == (0, [])


@pytest.mark.oracle
@pytest.mark.parametrize("sizes", ((5 * MIB, 6 * MIB + 512), (5 * MIB - 512, 1100 * MIB), (9 * MIB, 3 * MIB, 9 * MIB)))
def test_a_disk_of_another_size_is_what_qemu_reads(sizes, tmp_path, programs):
    """quirk("resize-of-parallels")"""
    path, disk = tmp_path / "disk.hdd", bytearray(sizes[0])
    programs.img("create", "-q", "-f", "parallels", "-o", f"cluster_size={K64}", path, len(disk))
    for number, size in enumerate(sizes):
        if number:
            change(path, Resize(size))
            disk = disk[:size].ljust(size, b"\0") if size < 1 << 30 else disk
        assert programs.check(path) == (0, [])
        at = size - 70000 // 512 * 512
        programs.io(path, f"write -P {number + 7} {at} 512", f"write -P 3 {number * MIB} 512")
        disk[number * MIB : number * MIB + 512] = b"\3" * 512
        if size < 1 << 30:
            disk[at : at + 512] = bytes([number + 7]) * 512
            assert programs.content(path) == disk
        else:
            programs.io(path, f"read -P 7 {sizes[0] - 70000 // 512 * 512} 512", f"read -P 0 {sizes[0]} 100M")
        assert programs.check(path) == (0, [])
    assert programs.answer("info", path)["virtual-size"] == sizes[-1]


def content(subject, disk):
    """The content of the image's disk."""
    image = Image([source(disk)])
    parts = []
    for extent in subject.map(image, 0, subject.info(image).virtual_size):
        data = disk.read(extent.offset, extent.length) if extent.kind == Kind.DATA else b""
        parts.append(data.ljust(extent.length, b"\0"))
    return b"".join(parts)


def faults(subject, disk, severity=Severity.CORRUPTION):
    return [one.text for one in subject.check(Image([source(disk)])) if getattr(one, "severity", 0) == severity]


SMALL = 2
"""Sectors of a cluster that make a BAT outgrow its place soon."""


def images(builder):
    made = {}
    for magic, name in ((builder.OLD, "old"), (builder.EXT, "ext")):
        for what, bat in (("some", [0, None, 1, 2]), ("full", [3, 2, 1, 0]), ("empty", [None] * 4)):
            made[f"{name} {what}"] = builder.build(bat, magic=magic, tracks=SMALL)
        made[f"{name} short"] = builder.build([0, None, 1, 2], magic=magic, tracks=SMALL, sectors=7)
    made["old without data_off"] = builder.build([0, None, 1, 2], magic=builder.OLD, tracks=SMALL, data=0)
    table = builder.bitmap(8, 1, [0])
    made["extended"] = builder.extended(builder.build([0, None, 1, 2], tracks=SMALL), table, builder.END)
    return made


NAMES = [f"{magic} {what}" for magic in ("old", "ext") for what in ("some", "full", "empty", "short")]


@pytest.mark.parametrize("size", (5 * 1024, 1536, 400 * 1024, 9000 * 512))
@pytest.mark.parametrize("name", [*NAMES, "old without data_off", "extended"])
def test_a_resize_that_is_cut_anywhere_leaves_the_old_state_or_the_new(name, size, builder, subject):
    disk = Disk(images(builder)[name])
    history = executor.change(subject, [disk], Resize(size))
    before = content(subject, disk)
    wanted = (before, before[:size].ljust(size, b"\0"))
    assert content(subject, history.files[0]) == wanted[1]
    assert faults(subject, history.files[0], Severity.LEAK) == []
    choose = random.Random(1)
    for step in range(len(history.steps) + 1):
        for _ in range(CUTS):
            (file,) = history.cut(step, choose)
            assert content(subject, file) in wanted
            assert faults(subject, file) == []
            if faults(subject, file, Severity.LEAK):
                mended = executor.change(subject, [file], Repair("leaks")).files[0]
                assert faults(subject, mended, Severity.LEAK) == faults(subject, mended) == []
                assert content(subject, mended) == content(subject, file)


@pytest.mark.oracle
@pytest.mark.parametrize("size", (5 * 1024, 1536, 400 * 1024))
@pytest.mark.parametrize("name", [*NAMES, "old without data_off"])
def test_what_qemu_reads_and_finds_of_a_disk_of_another_size(name, size, tmp_path, builder, programs, opened):
    programs.recent()
    path = tmp_path / "disk.hdd"
    path.write_bytes(images(builder)[name])
    before = opened(path).content()
    change(path, Resize(size))
    assert programs.content(path) == before[:size].ljust(size, b"\0")
    assert programs.check(path) == (0, [])


@pytest.mark.parametrize("request_", (Resize(9 * 1024), Update()))
def test_bitmaps_that_would_become_stale_are_gone_before_anything_changes(request_, tmp_path, builder, subject, opened):
    """quirk("parallels-bitmaps-go")"""
    path = tmp_path / "disk.hdd"
    path.write_bytes(images(builder)["extended"])
    assert opened(path).info.bitmaps
    if isinstance(request_, Update):
        overwrite(str(path), "parallels", b"x" * 4096, [(1024, 1024)])
        assert opened(path).content()[1024:2048] == b"x" * 1024
    else:
        steps = executor.change(subject, [Disk(path.read_bytes())], request_).steps
        assert (steps[0].offset, len(steps[0].data), steps[1].what) == (0, 64, "barrier")
        change(path, request_)
    assert opened(path).info.bitmaps == ()
    assert opened(path).image.main.read(44, 4) == bytes(4)
    assert not [one for one in opened(path).findings() if one.severity > Severity.LEAK]


def test_an_image_is_not_taken_for_empty_once_it_was_written_to(tmp_path, builder, opened):
    path = tmp_path / "disk.hdd"
    path.write_bytes(builder.build([0, None], flags=1))
    overwrite(str(path), "parallels", b"x" * 2 * K64, [(K64, K64)])
    assert opened(path).image.main.read(52, 4) == bytes(4)


@pytest.mark.parametrize(
    "bat, fields, message",
    (
        ([0, None], {"in_use": 0x746F6E59}, "not closed correctly"),
        ([0, 0], {}, "duplicate offset in BAT entry 1"),
        ([0, 9], {"stored": 1}, "cluster 1 is outside image"),
        ([0, 1], {"changed": ("data", 1 << 20)}, "data_off"),
    ),
)
def test_an_image_that_must_be_repaired_is_not_written_to(bat, fields, message, builder, subject):
    fields = dict(fields)
    changed = fields.pop("changed", None)
    data = builder.build(bat, **fields)
    if changed:
        data = builder.changed(data, *changed)
    for request in (Update(), Resize(9 * MIB)):
        with pytest.raises(FormatError, match=f"must be repaired.*{message}"):
            list(subject.write(Image([source(Disk(data))]), request, iter(())))


def test_a_resize_that_cannot_be_is_refused(builder, subject):
    for magic, size in ((builder.OLD, 1 << 42), (builder.EXT, 1 << 60)):
        with pytest.raises(FormatError, match="too large"):
            list(subject.write(Image([source(Disk(builder.build([0], magic=magic)))]), Resize(size), iter(())))
    with pytest.raises(FormatError, match="Unsupported preallocation mode"):
        list(subject.write(Image([source(Disk(builder.build([0])))]), Resize(MIB, "full"), iter(())))
