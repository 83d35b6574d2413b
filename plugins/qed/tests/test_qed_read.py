"""Images by qemu-img, and by the specification alone, read here as qemu-img reads them."""

from __future__ import annotations

import random

import pytest

from instar_core.errors import FormatError
from instar_core.source import Image, bytes_source
from instar_core.types import Layer, LayerKind, Role

MIB = 1 << 20
SIZE = 3 * MIB + 512 * 5


def info(subject, data):
    return subject.info(Image([bytes_source(data)]))


@pytest.mark.oracle
@pytest.mark.parametrize("seed", range(12))
def test_any_tables_read_as_for_qemu(seed, tmp_path, builder, programs, show):
    choose = random.Random(seed)
    cluster = choose.choice((4096, 4096, 8192, 65536))
    table = choose.choice((2, 4, 16))
    header = choose.choice((1, 1, 3))
    count = -(-SIZE // cluster)
    clusters = {}
    at = 0
    while at < count:
        length = min(choose.choice((1, 1, 2, 7, 40)), count - at)
        kind = choose.choice((builder.DATA, builder.ZERO, None))
        clusters.update({number: kind for number in range(at, at + length) if kind})
        at += length
    order = list(clusters)
    if seed % 3 == 0:
        choose.shuffle(order)
    gap = choose.sample(order, min(len(order), choose.choice((0, 3))))
    data = builder.build(SIZE, clusters, cluster=cluster, table=table, header=header, order=order, gap=gap)
    path = tmp_path / "disk.qed"
    path.write_bytes(data)
    content, ranges = show(data)
    assert ranges == programs.answer("map", path)
    assert content == programs.content(path) == builder.disk(SIZE, clusters, cluster)


@pytest.mark.oracle
@pytest.mark.parametrize("options", ("", "cluster_size=4k,table_size=2", "cluster_size=2M", "table_size=16"))
def test_what_qemu_io_wrote_reads_as_for_qemu(options, tmp_path, programs, show, subject):
    path = tmp_path / "disk.qed"
    programs.img("create", "-q", "-f", "qed", *(("-o", options) if options else ()), path, SIZE)
    programs.io(path, "write -P 1 64k 192k", "write -P 2 1M 1000b", "write -z 64k 64k", "write -z 2M 128k")
    programs.io(path, "write -P 3 3M 512", "write -P 4 777k 3k", "write -P 5 0 1b")
    content, ranges = show(path.read_bytes())
    assert ranges == programs.answer("map", path)
    assert content == programs.content(path)
    said = programs.answer("info", path)
    have = info(subject, path.read_bytes())
    assert (have.virtual_size, have.cluster_size, have.dirty) == (
        said["virtual-size"],
        said["cluster-size"],
        said["dirty-flag"],
    )
    assert not have.details and "format-specific" not in said


@pytest.mark.oracle
@pytest.mark.parametrize("kind", ("raw", "qed", "qcow2"))
def test_the_backing_file_is_a_reference_of_no_format_unless_it_is_raw(kind, tmp_path, programs, subject):
    programs.img("create", "-q", "-f", kind, tmp_path / "base", "1M")
    path = tmp_path / "disk.qed"
    programs.img("create", "-q", "-f", "qed", "-b", "base", "-F", kind, path)
    (reference,) = info(subject, path.read_bytes()).references
    said = programs.answer("info", path)
    assert (reference.role, reference.name) == (Role.BACKING, said["backing-filename"].encode())
    assert reference.format == said.get("backing-filename-format")
    assert reference.format == ("raw" if kind == "raw" else None)


@pytest.mark.oracle
@pytest.mark.parametrize("name", (b"", b"f\0oo", b"a" * 4095, b"dir/na me"))
def test_the_name_of_a_backing_file_is_what_qemu_takes_for_it(name, tmp_path, builder, programs, subject):
    data = builder.build(MIB, {0: builder.DATA}, header=2, backing=name, features=builder.BACKING)
    path = tmp_path / "disk.qed"
    path.write_bytes(data)
    said = programs.answer("info", path)
    named = [reference.name.decode() for reference in info(subject, data).references]
    assert named == [said[key] for key in ("backing-filename",) if key in said]


@pytest.mark.oracle
def test_an_image_that_needs_a_check_is_not_called_dirty_but_extra_tells(tmp_path, builder, programs, subject):
    data = builder.build(MIB, {0: builder.DATA}, features=builder.NEED_CHECK)
    path = tmp_path / "disk.qed"
    path.write_bytes(data)
    have = info(subject, data)
    assert have.dirty is programs.answer("info", path)["dirty-flag"] is False
    assert have.extra["need-check"] is True


def test_tables_of_one_cluster_are_read_though_qemu_refuses_them(tmp_path, builder, programs, show):
    """quirk("qed-table-of-one-cluster")"""
    clusters = {0: builder.DATA, 511: builder.DATA, 512: builder.ZERO, 700: builder.DATA}
    data = builder.build(SIZE, clusters, table=1)
    assert show(data)[0] == builder.disk(SIZE, clusters)
    path = tmp_path / "disk.qed"
    programs.img("create", "-q", "-f", "qed", "-o", "table_size=1", path, "1M")
    refused = programs.img("info", "-f", "qed", path, check=False)
    assert b"QED table offset is invalid" in refused.stderr


def test_tables_that_could_map_more_than_64_bits_are_read_though_qemu_refuses_them(tmp_path, builder, programs, show):
    """quirk("qed-large-tables")"""
    cluster = 1 << 21
    data = builder.build(SIZE, {1: b"x" * 512}, cluster=cluster, table=16)
    assert show(data)[0] == builder.disk(SIZE, {1: b"x" * 512}, cluster)
    path = tmp_path / "disk.qed"
    path.write_bytes(data)
    refused = programs.img("info", "-f", "qed", path, check=False)
    assert b"QED image size is invalid" in refused.stderr


def test_a_whole_table_of_neighbours_is_one_extent(builder, subject):
    image = Image([bytes_source(builder.build(4 * MIB, dict.fromkeys(range(1024), builder.DATA)))])
    assert len(list(subject.map(image, 0, 4 * MIB))) == 1


def test_there_are_no_other_layers(builder, subject):
    image = Image([bytes_source(builder.build(MIB, {}))])
    with pytest.raises(FormatError, match="neither snapshots nor bitmaps"):
        list(subject.map(image, 0, MIB, Layer(LayerKind.SNAPSHOT, "1")))
