"""Changes of images that are there: judged by qemu-img and 7z, and by what a power cut leaves of them."""

from __future__ import annotations

import random
import shutil

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
K4 = 4096
CUTS = 8


def change(path, request):
    with Changing(str(path), INLINE, format="vdi") as image:
        image.apply(request)


@pytest.fixture(scope="module")
def subject():
    return Subject(load_spec("vdi"))


def made(programs, path, size, *, static=False):
    programs.img("create", "-q", "-f", "vdi", "-o", f"static={'on' if static else 'off'}", path, size)
    return bytearray(size)


@pytest.mark.oracle
@pytest.mark.parametrize("static", (False, True))
@pytest.mark.parametrize("seed", range(3))
def test_content_that_is_written_is_what_qemu_reads(seed, static, tmp_path, programs):
    choose = random.Random(seed)
    path = tmp_path / "disk.vdi"
    disk = made(programs, path, 9 * MIB + 512 * 77, static=static)
    for _ in range(3):
        at = choose.randrange(0, len(disk) - 70000, 512)
        programs.io(path, f"write -P {at % 250 + 1} {at} 64k")
        disk[at : at + 65536] = bytes([at % 250 + 1]) * 65536
        spans = []
        for start in sorted(choose.sample(range(0, len(disk), MIB), 3)):
            length = min(len(disk) - start, choose.choice((MIB, 4096, 30000)))
            disk[start : start + length] = choose.choice((choose.randbytes(length), bytes(length)))
            spans.append((start, length))
        overwrite(str(path), "vdi", bytes(disk), spans)
        assert programs.content(path) == disk
        assert programs.check(path) == (0, [])


@pytest.mark.oracle
@pytest.mark.parametrize("static", (False, True))
@pytest.mark.parametrize("sizes", ((5 * MIB, 6 * MIB + 512), (5 * MIB - 512, 130 * MIB), (130 * MIB, 3 * MIB, 9 * MIB)))
def test_a_disk_of_another_size_is_what_qemu_and_others_read(sizes, static, tmp_path, programs):
    """quirk("resize-of-vdi")"""
    path = tmp_path / "disk.vdi"
    disk = made(programs, path, sizes[0], static=static)
    for number, size in enumerate(sizes):
        if number:
            change(path, Resize(size))
            disk = disk[:size].ljust(size, b"\0")
        assert programs.check(path) == (0, [])
        at = size - 70000 - 512
        programs.io(path, f"write -P {number + 7} {at} 66048", f"write -P 3 {number * MIB} 512")
        disk[at : at + 66048] = bytes([number + 7]) * 66048
        disk[number * MIB : number * MIB + 512] = b"\3" * 512
        assert programs.content(path) == disk
        assert programs.check(path) == (0, [])
    assert programs.answer("info", path)["virtual-size"] == sizes[-1]
    if shutil.which("7z"):
        done = programs.run("7z", "x", "-so", path)
        assert done.stdout.ljust(len(disk), b"\0") == disk


@pytest.mark.oracle
def test_the_map_of_a_disk_too_large_for_a_second_one_grows_all_the_same(tmp_path, programs):
    """Beyond 4 GiB the header cannot say where a map lies, so that nothing can be put aside there."""
    path, size = tmp_path / "disk.vdi", 8 << 30
    made_at = {0: 1, 3 << 30: 2, (5 << 30) + 512: 3, size - 512: 4}
    programs.img("create", "-q", "-f", "vdi", path, size)
    programs.io(path, *(f"write -P {mark} {at} 512" for at, mark in made_at.items()))
    change(path, Resize(2 << 40))
    made_at |= {(2 << 40) - 512: 5, 9 << 30: 6}
    programs.io(path, *(f"write -P {mark} {at} 512" for at, mark in list(made_at.items())[-2:]))
    programs.io(path, *(f"read -P {mark} {at} 512" for at, mark in made_at.items()), "read -P 0 10G 10M")
    assert programs.check(path) == (0, [])
    assert programs.answer("info", path)["virtual-size"] == 2 << 40


@pytest.mark.oracle
def test_blocks_are_added_to_a_disk_too_large_for_a_second_map(tmp_path, programs):
    path, size = tmp_path / "disk.vdi", 8 << 30
    programs.img("create", "-q", "-f", "vdi", path, size)
    programs.io(path, "write -P 1 0 512")
    content = random.Random(1).randbytes(3 * MIB)
    overwrite(str(path), "vdi", content, [(MIB, 2 * MIB)])
    programs.io(path, "read -P 1 0 512", "read -P 0 3M 100M")
    assert programs.check(path) == (0, [])
    assert programs.answer("info", path)["virtual-size"] == size
    with path.open("rb") as file:
        data = file.read(1 << 26)
    assert content[MIB:] in data


def test_a_full_disk_too_large_for_a_second_map_is_told_that_it_cannot_grow(builder, subject):
    blocks = 128 << 10  # of 64 KiB: 8 GiB, and a map that fills its last sector
    data = builder.build(list(range(blocks)), block=65536, stored=0)
    disk = Disk(data)
    disk.truncate(len(data) + blocks * 65536)
    with pytest.raises(FormatError, match="no room in front of the blocks, and none can be made"):
        list(subject.write(Image([source(disk)]), Resize(9 << 30), iter(())))


@pytest.mark.parametrize(
    "blocks, fields",
    (
        ([0, 0, None], {}),
        ([0, 3, None], {}),
        ([0, 1, 1], {}),
    ),
)
def test_an_image_whose_blocks_have_two_owners_is_not_written_to(blocks, fields, builder, subject):
    image = Image([source(Disk(builder.build(blocks, stored=3, **fields)))])
    for request in (Update(), Resize(9 * MIB)):
        with pytest.raises(FormatError, match="must not be written to"):
            list(subject.write(image, request, iter(())))


def test_a_resize_that_cannot_be_is_refused(builder, subject):
    image = Image([source(Disk(builder.build([0, 1])))])
    for request in (Resize(1 << 60), Resize(9 * MIB, "full")):
        with pytest.raises(FormatError):
            list(subject.write(image, request, iter(())))


def content(subject, disk):
    """The size and the content of the image's disk."""
    image = Image([source(disk)])
    info = subject.info(image)
    parts = []
    for extent in subject.map(image, 0, info.virtual_size):
        data = disk.read(extent.offset, extent.length) if extent.kind == Kind.DATA else b""
        parts.append(data.ljust(extent.length, b"\0"))
    return b"".join(parts)


def faults(subject, disk, severity=Severity.CORRUPTION):
    return [one.text for one in subject.check(Image([source(disk)])) if getattr(one, "severity", 0) == severity]


IMAGES = {
    "no room": ([0, 2, None, 1], {}),
    "full": ([3, 2, 1, 0], {}),
    "empty": ([None] * 4, {}),
    "room in front": ([0, 2, None, 1], {"data": 4096 * 4}),
    "extra": ([0, 2, None, 1], {"extra": 512}),
    "static": ([0, 1, 2, 3], {"type": 2}),
    "last block short": ([0, 2, None, 1], {"size": 4 * K4 - 512}),
    "blocks behind the disk": ([0, 2, None, 1, 3], {"size": 3 * K4 + 512}),
}
REQUESTS = (Resize(5 * K4), Resize(K4 + 512), Resize(600 * K4), Resize(9000 * K4 + 512))


@pytest.mark.parametrize("request_", REQUESTS, ids=str)
@pytest.mark.parametrize("name", IMAGES)
def test_a_resize_that_is_cut_anywhere_leaves_the_old_state_or_the_new(name, request_, builder, subject):
    blocks, fields = IMAGES[name]
    disk = Disk(builder.build(blocks, block=K4, **fields))
    history = executor.change(subject, [disk], request_)
    before, size = content(subject, disk), request_.size
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


def test_what_lies_behind_the_end_of_a_disk_is_zeros_once_it_grows(builder, subject):
    disk = Disk(builder.build([0, 1, 2], block=K4, size=K4 + 512))
    after = executor.change(subject, [disk], Resize(3 * K4)).files[0]
    assert content(subject, after) == content(subject, disk).ljust(3 * K4, b"\0")


def test_the_header_keeps_what_nobody_asked_to_change(builder, subject):
    data = bytearray(builder.build([0, None], block=K4))
    data[0x1C8:0x1D8] = b"geometry of BIOS"
    data[0x54:0x60] = b"a disk of me"
    after = executor.change(subject, [Disk(bytes(data))], Resize(9000 * K4)).files[0].read(0, 512)
    assert after[0x1C8:0x1D8] == b"geometry of BIOS"
    assert after[:0x154] == data[:0x154]
    assert after[0x188:0x1C8] == data[0x188:0x1C8]


@pytest.mark.parametrize("allocated", (1, 3, 5))
def test_blocks_where_the_next_one_will_be_put_are_moved(allocated, builder, subject):
    """Two blocks of the disk, stored as numbers 0 and 4: the count alone would have the next writer overwrite one."""
    disk = Disk(builder.build([None, 4, 0, None, None], allocated=allocated, block=K4))
    before = content(subject, disk)
    history = executor.change(subject, [disk], Repair("all"))
    after = history.files[0]
    assert content(subject, after) == before
    assert [one.text for one in subject.check(Image([source(after)])) if hasattr(one, "text")] == []
    assert int.from_bytes(after.read(0x184, 4), "little") == 2
    choose = random.Random(1)
    for step in range(len(history.steps) + 1):
        (file,) = history.cut(step, choose)
        assert content(subject, file) == before


def test_new_blocks_take_the_numbers_that_nothing_has(tmp_path, builder, opened):
    path = tmp_path / "disk.vdi"
    path.write_bytes(builder.build([None, 3, 0, None, None], block=K4))
    disk = bytearray(opened(path).content())
    disk[: 4 * K4] = random.Random(1).randbytes(4 * K4)
    overwrite(str(path), "vdi", bytes(disk), [(0, 4 * K4)])
    assert opened(path).content() == disk
    assert opened(path).findings() == []
