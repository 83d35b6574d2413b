"""Images that qemu-img and qemu-io made, read here and there."""

from __future__ import annotations

import random

import pytest

from instar_core.source import Image, bytes_source
from instar_core.types import Kind, Role

SIZE = 5 * (1 << 20) + 512 * 77
pytestmark = pytest.mark.oracle


def scattered(seed, size=SIZE):
    """Content with noise, patterns, zeros and unaligned ends."""
    choose = random.Random(seed)
    made = bytearray(size)
    for _ in range(8):
        at = choose.randrange(size)
        length = min(size - at, choose.choice([1, 511, 4096, 65536, 200000, 1 << 20]))
        made[at : at + length] = choose.randbytes(length) if choose.random() < 0.6 else b"\x5a" * length
    return bytes(made)


@pytest.mark.parametrize("compress", (False, True), ids=("plain", "compressed"))
@pytest.mark.parametrize("seed", range(4))
def test_what_qemu_img_converted_reads_as_for_qemu(compress, seed, tmp_path, programs, agree):
    (tmp_path / "in.raw").write_bytes(scattered(seed))
    path = tmp_path / "disk.qcow"
    # With -c, qemu-img 11.1 ends with 1 without a word, though the image is whole.
    given = ("-c",) if compress else ()
    programs.img("convert", *given, "-f", "raw", "-O", "qcow", tmp_path / "in.raw", path, check=not compress)
    assert agree(path) == scattered(seed)


@pytest.mark.parametrize("seed", range(4))
def test_clusters_written_in_disorder_read_as_for_qemu(seed, tmp_path, programs, agree):
    path = tmp_path / "disk.qcow"
    programs.img("create", "-q", "-f", "qcow", path, SIZE)
    choose = random.Random(seed)
    writes = []
    for number in range(60):
        at = choose.randrange(SIZE // 4096)
        if choose.random() < 0.4:
            writes.append(f"write -c -P {number + 1} {at * 4096} 4096")
        else:
            writes.append(f"write -P {number + 1} {at * 4096 + 512} {choose.choice((512, 1024, 9728, 4096))}")
    programs.io(path, *writes)
    agree(path)


def test_an_overlay_reads_as_for_qemu(tmp_path, programs, host):
    parent = scattered(1, 3 << 20)
    (tmp_path / "base.raw").write_bytes(parent)
    path = tmp_path / "disk.qcow"
    programs.img("create", "-q", "-f", "qcow", "-b", "base.raw", "-F", "raw", path, cwd=tmp_path)
    programs.io(path, "write -P 7 1M 70k", "write -P 8 512 512", "write -z 2M 64k")
    with host.Opened(path) as opened:
        assert [(one.role, one.name, one.format) for one in opened.info.references] == [
            (Role.BACKING, b"base.raw", None)
        ]
        assert opened.info.cluster_size == 512
        assert opened.content(parent=parent) == programs.content(path)
        top = [one for one in programs.answer("map", path) if one["depth"] == 0]
        assert [one for one in opened.ranges() if one["data"]] == top


def test_windows_agree_with_the_whole(tmp_path, programs, host):
    path = tmp_path / "disk.qcow"
    (tmp_path / "in.raw").write_bytes(scattered(9))
    choose = random.Random(9)
    for given in ((), ("-c",)):
        programs.img("convert", *given, "-f", "raw", "-O", "qcow", tmp_path / "in.raw", path, check=False)
        with host.Opened(path) as opened:
            for _ in range(30):
                start = choose.randrange(SIZE)
                length = choose.randrange(1, SIZE - start + 1)
                assert opened.content(start, length) == scattered(9)[start : start + length]
            assert opened.extents(0, 0) == []


@pytest.mark.parametrize("cluster_bits, l2_bits", [(9, 6), (9, 13), (10, 7), (12, 9), (12, 13), (16, 6), (16, 9)])
def test_every_size_of_clusters_and_tables_is_read(cluster_bits, l2_bits, tmp_path, programs, agree, builder):
    path = tmp_path / "disk.qcow"
    content = {3: b"a", 0: b"b", (1 << l2_bits) + 1: b"c", 5: b"d"}
    size = ((1 << l2_bits) + 3) << cluster_bits
    path.write_bytes(builder(size - 512, content, cluster_bits, l2_bits))
    disk = agree(path)
    for cluster, mark in content.items():
        assert disk[cluster << cluster_bits :][:1] == mark


def test_a_file_that_ends_within_its_last_cluster_reads_as_for_qemu(tmp_path, programs, host, agree, builder):
    path = tmp_path / "disk.qcow"
    data = builder(64 << 10, {1: b"x", 2: b"y"}, 12, 9)
    path.write_bytes(data[: -4096 + 512])
    agree(path)


def test_the_whole_of_an_empty_disk_is_one_extent(tmp_path, programs, host):
    path = tmp_path / "disk.qcow"
    programs.img("create", "-q", "-f", "qcow", path, "1T")
    with host.Opened(path) as opened:
        (extent,) = opened.extents()
    assert (extent.length, extent.kind) == (1 << 40, Kind.ABSENT)


def test_the_facts_that_qemu_does_not_show_are_there(tmp_path, programs, host):
    path = tmp_path / "disk.qcow"
    programs.img("create", "-q", "-f", "qcow", path, "10M")
    with host.Opened(path) as opened:
        assert opened.info.extra == {"l1-entries": 5, "l1-offset": 48, "l2-entries": 512, "mtime": 0}
        assert opened.info.details == {}


def test_libqcow_says_the_same(tmp_path, programs, builder):
    path = tmp_path / "disk.qcow"
    path.write_bytes(builder(1 << 20, {1: b"x"}, 12, 9))
    said = programs.run(programs.find("qcowinfo"), path).stdout.decode()
    assert "Format version\t\t: 1" in said
    assert "(1048576 bytes)" in said


def test_a_table_that_several_entries_name_shows_the_same_content_each_time(builder, host):
    data = bytearray(builder(4 << 20, {1: b"x"}, 12, 9))
    data[48 + 8 : 48 + 16] = data[48:56]
    from instar_qcow import hooks

    from instar_core.types import Layer, Span

    image = Image([bytes_source(bytes(data))])
    found = [extent for extent in hooks.instar_map(image, Layer(), Span(0, 4 << 20)) if extent.kind == Kind.DATA]
    assert [extent.start for extent in found] == [4096, (2 << 20) + 4096]
    assert len({extent.offset for extent in found}) == 1
