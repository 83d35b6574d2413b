"""Images read, checked and written here, judged by qemu-img and by the readers of others."""

from __future__ import annotations

import json
import random
import struct

import pytest

MIB = 1 << 20


def agree(path, programs, opened):
    """The image reads here as it does for qemu-img; returns its content."""
    one = opened(path)
    said = programs.answer("info", path)
    assert one.info.virtual_size == said["virtual-size"]
    assert "cluster-size" not in said and "dirty-flag" not in said
    if one.info.virtual_size:
        assert one.ranges() == programs.answer("map", path)
    content = one.content()
    assert content == programs.content(path)
    return content


def counts(programs, path):
    """What qemu-img check counts: corruptions, leaks, total, allocated, fragmented, end; and its lines."""
    done = programs.img("check", "-f", "parallels", "--output=json", path, check=False)
    said = json.loads(done.stdout)
    names = ("corruptions", "leaks", "total-clusters", "allocated-clusters", "fragmented-clusters", "image-end-offset")
    return [said.get(name, 0) for name in names], done.stderr.decode().splitlines()


def ours(one):
    *found, tally = one.subject.check(one.image)
    bad = [sum(each.count for each in found if each.severity == severity) for severity in (2, 1)]
    lines = [each.text for each in found if each.severity]
    return [*bad, tally.total, tally.allocated, tally.fragmented, tally.end], lines


def random_image(seed, builder, *, wrong=False):
    """An image with any magic, cluster size, order of clusters and tail; with `wrong`, with things that a check
    finds and that qemu-img survives."""
    choose = random.Random(seed)
    magic = choose.choice((builder.OLD, builder.EXT))
    tracks = choose.choice((1, 8, 63, 128, 504, 2048))
    count = choose.randrange(1, 60)
    held = choose.randrange(count // 2 + 1)
    bat = [None] * count
    for index, place in enumerate(choose.sample(range(count), held)):
        bat[place] = index
    sectors = count * tracks - choose.randrange(tracks)
    more = {}
    if wrong:
        more["in_use"] = choose.choice((0, builder.IN_USE, builder.CLOSED, 7))
        more["tail"] = choose.choice((0, 512, tracks * 512, 5 * tracks * 512 + 100))
    data = 0 if magic == builder.OLD and choose.random() < 0.5 else None
    made = builder.build(bat, magic=magic, tracks=tracks, sectors=sectors, data=data, **more)
    if wrong and choose.random() < 0.5 and data is None:
        made = builder.changed(made, "data", choose.choice((1, 1 << 31, len(made) // 512 + 1)))
    return made


@pytest.mark.oracle
@pytest.mark.parametrize("seed", range(16))
def test_built_images_read_and_check_as_for_qemu(seed, tmp_path, programs, opened, builder):
    programs.recent()
    path = tmp_path / "built.hdd"
    path.write_bytes(random_image(seed, builder, wrong=seed % 2 == 1))
    agree(path, programs, opened)
    assert ours(opened(path)) == counts(programs, path)


@pytest.mark.oracle
@pytest.mark.parametrize("cluster", (512, 4096, 65536, MIB, 64 << 20))
@pytest.mark.parametrize("size", (0, 512, 513, MIB - 1, MIB + 1, 10_000_001))
def test_header_and_bat_are_what_qemu_img_writes(size, cluster, tmp_path, programs, written):
    mine = written(b"", size, cluster_size=str(cluster))
    theirs = tmp_path / "theirs.hdd"
    programs.img("create", "-q", "-f", "parallels", "-o", f"cluster_size={cluster}", theirs, size)
    assert mine.stat().st_size == theirs.stat().st_size
    with open(mine, "rb") as one, open(theirs, "rb") as other:
        assert one.read(MIB) == other.read(MIB)


@pytest.mark.oracle
@pytest.mark.parametrize("cluster", (512, 32256, 65536, MIB))
@pytest.mark.parametrize("seed", range(3))
def test_what_is_written_reads_back_for_qemu_and_here(seed, cluster, programs, opened, written, scattered):
    size = (7 * MIB + 512 * 33, 5 * MIB, 512)[seed]
    data = scattered(seed, size)
    path = written(data, cluster_size=str(cluster), seed=seed)
    assert agree(path, programs, opened) == data
    assert ours(opened(path)) == counts(programs, path)
    assert opened(path).findings() == []


@pytest.mark.oracle
@pytest.mark.parametrize("entries", range(100, 2000, 237))
@pytest.mark.parametrize("tracks", (3, 63, 504, 2049))
def test_clusters_that_are_no_power_of_two_are_where_qemu_finds_them(entries, tracks, programs, opened, written):
    """quirk("parallels-odd-clusters")"""
    size = entries * tracks * 512
    path = written(b"first".ljust(1024, b"1"), size, cluster_size=str(tracks * 512))
    one = opened(path)
    assert one.ranges() == programs.answer("map", path)
    assert one.ranges()[0]["data"] and one.findings() == []
    assert counts(programs, path)[1] == []


@pytest.mark.oracle
@pytest.mark.parametrize("cluster", (96 << 20, (64 << 20) + 512))
def test_clusters_larger_than_a_unit_are_allocated_whole(cluster, programs, opened, written):
    size = 2 * cluster + 512
    data = bytes(cluster - 512) + b"a" * 1024 + bytes(cluster - 512) + b"b" * 512
    path = written(data[:size], size, cluster_size=str(cluster))
    one = opened(path)
    assert [(each.start, each.length) for each in one.extents()] == [(0, size)]
    assert one.findings() == []
    raw = path.with_name("want.raw")
    raw.write_bytes(data[:size])
    programs.img("compare", "-f", "parallels", "-F", "raw", path, raw)


@pytest.mark.oracle
def test_images_with_bitmaps_read_as_for_qemu(tmp_path, programs, opened, builder):
    base = builder.build([0, None, 1, None])
    path = tmp_path / "bitmaps.hdd"
    path.write_bytes(
        builder.extended(base, builder.bitmap(512, 8, [len(base) // 512]), builder.END, before=1),
    )
    agree(path, programs, opened)
    assert [one.granularity for one in opened(path).info.bitmaps] == [4096]


@pytest.mark.oracle
def test_what_is_written_reads_back_for_dissect(written, scattered):
    reader = pytest.importorskip("dissect.hypervisor.disk.hdd", reason="dissect.hypervisor is not installed")
    data = scattered(10, 6 * MIB)
    with open(written(data), "rb") as file:
        assert reader.HDS(file).read(len(data)) == data


def test_a_disk_of_tebibytes_is_written_in_pieces_and_read_at_once(written, opened):
    """quirk("parallels-map-large")"""
    size = 6 << 40
    one = opened(written(b"", size))
    assert [(extent.start, extent.length) for extent in one.extents()] == [(0, size)]
    assert one.findings() == [] and one.tally().total == 6 << 20


@pytest.mark.oracle
def test_a_hostile_header_is_refused_as_qemu_refuses_it(tmp_path, programs, opened, builder):
    programs.recent()
    good = builder.build([0, None])
    path = tmp_path / "hostile.hdd"
    tried = 0
    for name, (_offset, layout) in builder.FIELDS.items():
        if layout == "<16s":
            continue
        most = (1 << 8 * struct.calcsize(layout)) - 1
        for value in (0, 1, 127, 129, 4186127, 4186128, 0x7FFFFFFF, most, most - 1):
            if name == "entries" and 100 < value <= 0x1FFFFFFF:
                continue  # qemu-img takes gigabytes of memory for the BAT
            path.write_bytes(builder.changed(good, name, value))
            theirs = programs.img("info", "-f", "parallels", path, check=False)
            try:
                said = str(opened(path).info.virtual_size and "")
            except Exception as error:
                said = str(error)
            assert ("" if said == "0" else said) == theirs.stderr.decode().strip().partition(f"'{path}': ")[2], name
            tried += 1
    assert tried > 60
