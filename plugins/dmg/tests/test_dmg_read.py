"""Images of every kind of chunk, read here and by qemu-img and 7-Zip."""

from __future__ import annotations

import random
import shutil

import pytest
from instar_dmg import SPEC, hooks

from instar_core.types import Kind, ProbeView

KINDS = ("raw", "adc", "zlib", "bzip2", "lzfse", "lzma")
QEMUS = ("raw", "zlib", "zero", "ignore")
"""Kinds of chunks that every build of qemu-img reads."""


def need(kind, kinds):
    if kind not in kinds:
        pytest.skip(f"the package {kind} is not installed")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rsrc", (False, True), ids=("plist", "resource fork"))
def test_every_kind_of_chunk_is_read(kind, rsrc, several, opened, kinds):
    need(kind, kinds)
    made = several([kind, "zero", kind], seed=3)
    image = opened(made.build(rsrc=rsrc))
    assert image.content() == made.content
    assert image.check()[0] == []
    coding = [] if kind == "raw" else [kind]
    assert [one.name for one in image.info.codings] == coding


@pytest.mark.oracle
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rsrc", (False, True), ids=("plist", "resource fork"))
def test_seven_zip_reads_the_same_and_finds_the_checksums_right(kind, rsrc, several, opened, kinds, tmp_path, programs):
    need(kind, kinds)
    data = several([kind, "zero", kind, "ignore"], seed=4).build(rsrc=rsrc)
    (tmp_path / "t.dmg").write_bytes(data)
    assert programs.run(programs.find("7z"), "x", "-so", tmp_path / "t.dmg").stdout == opened(data).content()


@pytest.mark.oracle
@pytest.mark.parametrize("seed", range(4))
def test_qemu_img_reads_the_same(seed, several, opened, tmp_path, programs):
    arguments = {"before": bytes(5000), "data_offset": 100} if seed == 3 else {}
    data = several(QEMUS, seed=seed, **arguments).build(rsrc=seed == 1, padding=bytes(100 * (seed == 2)))
    path = tmp_path / "t.dmg"
    path.write_bytes(data)
    image = opened(data)
    assert image.content() == programs.content(path)
    said = programs.info(path)
    assert said["virtual-size"] == image.info.virtual_size
    assert "cluster-size" not in said
    assert image.info.cluster_size == 0
    assert "dirty-flag" not in said
    assert image.info.dirty is None


@pytest.mark.oracle
@pytest.mark.skipif(not shutil.which("dmg2img"), reason="dmg2img is not installed")
def test_dmg2img_reads_the_same(several, opened, tmp_path, programs):
    data = several(["adc", "zlib", "bzip2", "zero", "raw"], seed=8).build()
    (tmp_path / "t.dmg").write_bytes(data)
    programs.run("dmg2img", tmp_path / "t.dmg", tmp_path / "o.img")
    assert (tmp_path / "o.img").read_bytes() == opened(data).content()


def test_windows_agree_with_the_whole(several, opened):
    made = several(seed=5)
    image = opened(made.build())
    choose = random.Random(5)
    for _ in range(40):
        start = choose.randrange(len(made.content))
        length = choose.randrange(1, len(made.content) - start + 1)
        assert image.content(start, length) == made.content[start : start + length]
    assert image.extents(0, 0) == []


def test_the_data_fork_may_begin_anywhere(several, opened):
    made = several(seed=6, before=b"x" * 777, data_offset=1000)
    image = opened(made.build())
    assert image.content() == made.content
    assert image.info.extra["data-fork-offset"] == 777


def test_partitions_may_stand_in_any_order(several, opened):
    made = several(seed=7)
    made.tables.reverse()
    assert opened(made.build()).content() == made.content


def test_chunks_differ_in_size_and_the_unit_is_the_largest(builder, opened, filling):
    made = builder.Image().partition("a", ("bzip2", filling(1, 3)), ("bzip2", filling(2, 40)), ("zlib", filling(3, 7)))
    image = opened(made.build())
    assert [(one.name, one.unit) for one in image.info.codings] == [("zlib", 7 * 512), ("bzip2", 40 * 512)]
    assert [(extent.length, extent.coding) for extent in image.extents()] == [(1536, 2), (20480, 2), (3584, 1)]
    assert image.content() == made.content


def test_plain_neighbours_are_one_extent(builder, opened, filling):
    made = builder.Image().partition("a", ("raw", filling(1, 8)), ("raw", filling(2, 8)), ("zero", bytes(1024)))
    made.partition("b", ("ignore", bytes(512)), ("raw", filling(3, 1)))
    extents = opened(made.build()).extents()
    assert [(extent.kind, extent.length) for extent in extents] == [
        (Kind.DATA, 8192),
        (Kind.ZERO, 1536),
        (Kind.DATA, 512),
    ]


def test_a_disk_without_sectors_is_read(builder, opened):
    image = opened(builder.Image().partition("a").build())
    assert image.info.virtual_size == 0
    assert image.extents() == []


def test_the_trailer_is_found_before_a_few_further_bytes(several, opened):
    made = several(seed=2)
    assert opened(made.build(padding=bytes(511))).content() == made.content


def test_partitions_are_named(several, opened):
    tables = opened(several(seed=2).build()).info.extra["tables"]
    assert [one["name"] for one in tables] == ["part 0", "part 1", "part 2"]
    assert tables[0]["start"] == 0
    assert tables[1]["start"] == tables[0]["sectors"]


@pytest.mark.parametrize("head, tail", [(b"encrcdsa", b""), (b"", b"cdsaencr"), (b"", b"koly" + bytes(508))])
def test_the_probe_claims_the_trailer_and_encrypted_images(head, tail):
    view = ProbeView(head.ljust(4096, b"\1"), tail.rjust(4096, b"\1"), 8192)
    assert hooks.instar_probe(view).format == "dmg"


@pytest.mark.parametrize("head, tail", [(b"", b""), (b"koly", b""), (b"", b"koly" + bytes(507))])
def test_the_probe_claims_nothing_else(head, tail):
    assert hooks.instar_probe(ProbeView(head.ljust(4096, b"\1"), tail.rjust(4096, b"\1"), 8192)) is None
    assert hooks.instar_probe(ProbeView(head, tail, len(head))) is None


@pytest.mark.oracle
def test_qemu_img_cannot_make_one_either(tmp_path, programs):
    done = programs.img("create", "-f", "dmg", tmp_path / "t.dmg", "1M", check=False)
    assert done.returncode == 1
    assert SPEC.options == ()
