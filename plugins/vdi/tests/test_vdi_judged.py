"""Images read, checked, mended and written here, judged by qemu-img and by the readers of others."""

from __future__ import annotations

import random
import struct

import pytest

MIB = 1 << 20


def agree(path, programs, opened):
    """The image reads here as it does for qemu-img; returns its content."""
    one = opened(path)
    said = programs.answer("info", path)
    assert one.info.virtual_size == said["virtual-size"]
    assert one.info.cluster_size == said["cluster-size"]
    assert "dirty-flag" in said and one.info.dirty is False
    if one.info.extra["image-type"] != "static":
        assert one.ranges() == programs.answer("map", path)
    content = one.content()
    assert content == programs.content(path)
    return content


@pytest.mark.oracle
@pytest.mark.parametrize("seed", range(12))
def test_built_images_read_and_check_as_for_qemu(seed, tmp_path, programs, opened, builder):
    choose = random.Random(seed)
    count = choose.randrange(1, 200)
    stored = choose.randrange(0, min(count, 6) + 1)
    blocks = [choose.choice((None, builder.DISCARDED)) for _ in range(count)]
    for index, place in enumerate(choose.sample(range(count), stored)):
        blocks[place] = index
    wrong = seed % 3
    for _ in range(wrong):
        blocks[choose.randrange(count)] = choose.choice((0, 1, count - 1, count, count + 5, 0xFFFFFFFD))
    size = count * MIB - choose.choice((0, 1, 512, 700_000, 1000))
    path = tmp_path / "built.vdi"
    path.write_bytes(builder.build(blocks, size=size, stored=stored, type=choose.choice((1, 1, 2))))
    agree(path, programs, opened)
    code, said = programs.check(path)
    found = opened(path).findings()
    assert [one.text for one in found if one.severity] == said
    assert code == (2 if said else 0)


@pytest.mark.oracle
@pytest.mark.parametrize("static", ("off", "on"))
@pytest.mark.parametrize("size", (0, 512, 513, MIB - 1, MIB, MIB + 1, 10_000_001, (3 << 30) + 5))
def test_header_and_map_are_what_qemu_img_writes(size, static, tmp_path, programs, written):
    ours = written(b"", size, static=static)
    theirs = tmp_path / "theirs.vdi"
    programs.img("create", "-q", "-f", "vdi", "-o", f"static={static}", theirs, size)
    assert ours.stat().st_size == theirs.stat().st_size
    heads = []
    for path in (ours, theirs):
        with open(path, "rb") as file:
            head = bytearray(file.read(512 + 4 * (size // MIB + 1) + 512))
        assert head[0x188:0x198] != bytes(16) and head[0x198:0x1A8] != bytes(16)
        head[0x188:0x1A8] = bytes(32)
        heads.append(bytes(head))
    assert heads[0] == heads[1]


@pytest.mark.oracle
@pytest.mark.parametrize("static", ("off", "on"))
@pytest.mark.parametrize("seed", range(4))
def test_what_is_written_reads_back_for_qemu_and_here(seed, static, programs, opened, written, scattered):
    size = (7 * MIB + 512 * 33, 5 * MIB, 512, 66 * MIB + 512)[seed]
    data = scattered(seed, size)
    path = written(data, static=static, seed=seed)
    assert agree(path, programs, opened) == data
    assert programs.check(path) == (0, [])
    assert opened(path).findings() == []


@pytest.mark.oracle
def test_a_static_image_shows_the_holes_that_qemu_shows(programs, opened, written):
    path = written(b"a" * 5000 + bytes(3 * MIB) + b"b" * 5000, static="on")
    shown = programs.answer("map", path)
    assert len(shown) > 1
    assert {one["offset"] - one["start"] for one in shown} == {opened(path).extents()[0].offset}


@pytest.mark.oracle
@pytest.mark.parametrize("static", ("off", "on"))
def test_what_is_written_reads_back_for_7_zip(static, programs, written, scattered, tmp_path):
    data = scattered(9, 6 * MIB)
    path = written(data, static=static)
    done = programs.run(programs.find("7z"), "e", "-so", path)
    assert done.stdout == data


@pytest.mark.oracle
@pytest.mark.parametrize("static", ("off", "on"))
def test_what_is_written_reads_back_for_dissect(static, written, scattered):
    reader = pytest.importorskip("dissect.hypervisor.disk.vdi", reason="dissect.hypervisor is not installed")
    data = scattered(10, 6 * MIB)
    with open(written(data, static=static), "rb") as file:
        image = reader.VDI(file)
        stream = image.open() if hasattr(image, "open") and not hasattr(image, "read") else image
        assert stream.read(len(data)) == data


@pytest.mark.oracle
@pytest.mark.parametrize("wrong", (0, 1, 4, 0xFFFFFFFF))
def test_a_wrong_count_of_blocks_is_mended(wrong, tmp_path, programs, opened, builder, mended):
    """quirk("vdi-repair")"""
    path = tmp_path / "wrong.vdi"
    path.write_bytes(builder.build([0, 1, None, 2], allocated=wrong))
    before = path.read_bytes()
    assert programs.check(path) == (2, [f"ERROR: allocated blocks mismatch, is 3, should be {wrong}"])
    assert [one.repairable for one in opened(path).findings()] == [True]
    mended(path, "leaks")
    assert path.read_bytes() == before
    mended(path)
    assert programs.check(path) == (0, [])
    after = path.read_bytes()
    assert after[:0x184] + after[0x188:] == before[:0x184] + before[0x188:]


def test_a_map_that_claims_a_block_twice_is_not_mended(tmp_path, opened, builder, mended):
    path = tmp_path / "twice.vdi"
    path.write_bytes(builder.build([0, 0, None]))
    before = path.read_bytes()
    assert [one.repairable for one in opened(path).findings()] == [False]
    mended(path)
    assert path.read_bytes() == before


def test_the_map_of_a_tebibyte_is_written_in_pieces_and_read_at_once(written, opened):
    size = 6 << 40
    path = written(b"", size)
    one = opened(path)
    assert [(extent.start, extent.length) for extent in one.extents()] == [(0, size)]
    assert one.findings() == []
    with open(path, "rb") as file:
        file.seek(512)
        assert file.read(4 * (size >> 20)) == b"\xff" * (4 * (size >> 20))


@pytest.mark.oracle
def test_a_hostile_header_is_refused_as_qemu_refuses_it(tmp_path, programs, opened, builder):
    good = builder.build([0, None])
    path = tmp_path / "hostile.vdi"
    tried = 0
    for name, (_offset, layout) in builder.FIELDS.items():
        if name in ("block", "extra", "type") or layout == "<16s":
            continue
        most = (1 << 8 * struct.calcsize(layout)) - 1
        for value in (0, 1, 511, 513, 0x7FFFFFFF, most, most - 1):
            data = builder.changed(good, name, value)
            if name == "blocks" and 100 < value <= 0x1FFFFF80:
                continue  # qemu-img takes gigabytes of memory for the map
            path.write_bytes(data)
            theirs = programs.img("info", "-f", "vdi", path, check=False)
            try:
                ours = opened(path).info.virtual_size and ""
            except Exception as error:
                ours = str(error)
            said = theirs.stderr.decode().strip().partition(f"'{path}': ")[2]
            assert (ours or "") == said, (name, value)
            tried += 1
    assert tried > 60
