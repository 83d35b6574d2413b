"""Content written into images in place, judged by QEMU's programs."""

from __future__ import annotations

import json
import os
import random

import pytest
from instar_qcow2.write import write

from instar_core.errors import FormatError
from instar_core.source import Image, bytes_source
from instar_core.testing.beside import beside
from instar_core.types import Empty, Update

load = beside(__file__)
oracle, updating = load("qcow2_oracle"), load("qcow2_updating")
encryption, bitmaps = load("qcow2_encryption"), load("qcow2_bitmap_oracle")
Write, update = updating.Write, updating.update
pytestmark = oracle.needs_qemu_io

KIB, MIB = 1 << 10, 1 << 20


def created(folder, size, *options, backing=None):
    words = ["create", "-q", "-f", "qcow2"]
    if options:
        words += ["-o", ",".join(options)]
    if backing is not None:
        (folder / "base").write_bytes(backing)
        words += ["-b", "base", "-F", "raw"]
    oracle.img(folder, *words, "x", str(size))


def mapped(folder, name="x"):
    keys = ("start", "length", "present", "zero", "data", "compressed", "offset")
    return [
        tuple(each.get(key) for key in keys) for each in json.loads(oracle.img(folder, "map", "--output=json", name))
    ]


def judged(folder, model, snapshots=()):
    oracle.assert_clean(folder)
    assert oracle.content(folder) == bytes(model)
    for number, content in snapshots:
        assert oracle.content(folder, snapshot=number) == content


SHAPES = {
    "plain": (),
    "version 2": ("compat=0.10",),
    "smallest clusters": ("cluster_size=512",),
    "smallest clusters, widest refcounts": ("cluster_size=512", "refcount_bits=64"),
    "largest clusters": ("cluster_size=2M",),
    "1-bit refcounts": ("refcount_bits=1", "cluster_size=1k"),
    "2-bit refcounts": ("refcount_bits=2", "cluster_size=4k"),
    "4-bit refcounts": ("refcount_bits=4", "cluster_size=512"),
    "8-bit refcounts": ("refcount_bits=8",),
    "subclusters": ("extended_l2=on", "cluster_size=16k"),
    "subclusters of 64 KiB": ("extended_l2=on", "cluster_size=2M"),
    "lazy refcounts": ("lazy_refcounts=on",),
    "zstd": ("compression_type=zstd",),
    "data file": ("data_file=d",),
    "raw data file": ("data_file=d", "data_file_raw=on"),
    "raw data file, subclusters": ("data_file=d", "data_file_raw=on", "extended_l2=on"),
}


@pytest.mark.parametrize("backed", [False, True], ids=["alone", "backed"])
@pytest.mark.parametrize("shape", SHAPES)
def test_what_is_written_reads_back_and_nothing_else_changes(tmp_path, shape, backed):
    options = SHAPES[shape]
    external = any(option.startswith("data_file") for option in options)
    if "data_file_raw=on" in options and backed:
        pytest.skip("an image whose data file is its disk has no backing file")
    seed = int(os.environ.get("INSTAR_SEED") or 1)
    draw = random.Random(f"{seed}{shape}{backed}")
    size = 512 * draw.randrange(2000, 6000)
    created(tmp_path, size, *options, backing=draw.randbytes(size - 8192) if backed else None)
    few = any(option in ("refcount_bits=1", "refcount_bits=2") for option in options)
    packed = not external and "refcount_bits=4" not in options  # else snapshots would count too many
    snapshots = []
    for step in range(5):
        start = 512 * draw.randrange(size // 1024)
        oracle.io(tmp_path, f"write -P {step + 1} {start} 192k", f"write -z {start + 70 * KIB} 20k")
        if not external:
            cluster = oracle.info(tmp_path)["cluster-size"]
            at = draw.randrange(-(-size // cluster)) * cluster
            oracle.run(tmp_path, oracle.QEMU_IO, "-c", f"write -c -P 9 {at} {min(cluster, size - at)}", "x")
        if not (external or few) and step in (1, 3):
            snapshots.append((step // 2 + 1, oracle.content(tmp_path)))
            oracle.img(tmp_path, "snapshot", "-c", f"s{step}", "x")
        model = bytearray(oracle.content(tmp_path))
        update(tmp_path / "x", model, updating.drawn(draw, size, 6), compress=packed and step == 2)
        judged(tmp_path, model, snapshots)
        if "data_file_raw=on" in options:
            assert (tmp_path / "d").read_bytes()[:size].ljust(size, b"\0") == model


def test_content_of_its_own_is_overwritten_where_it_lies(tmp_path):
    created(tmp_path, MIB)
    oracle.io(tmp_path, "write -P 1 0 512k")
    before, length = mapped(tmp_path), (tmp_path / "x").stat().st_size
    model = bytearray(oracle.content(tmp_path))
    update(tmp_path / "x", model, [Write(64 * KIB, b"a" * 128 * KIB)])
    judged(tmp_path, model)
    assert mapped(tmp_path) == before
    assert (tmp_path / "x").stat().st_size == length


def test_clusters_that_a_snapshot_shares_are_not_overwritten(tmp_path):
    created(tmp_path, MIB)
    oracle.io(tmp_path, "write -P 1 0 1M")
    oracle.img(tmp_path, "snapshot", "-c", "s", "x")
    old = oracle.content(tmp_path)
    model = bytearray(old)
    update(tmp_path / "x", model, [Write(0, b"a" * 64 * KIB), Write(512 * KIB, None, 64 * KIB)])
    judged(tmp_path, model, [(1, old)])


def test_a_compressed_neighbour_keeps_the_host_cluster_that_both_lie_in(tmp_path):
    created(tmp_path, MIB)
    oracle.io(tmp_path, *(f"write -c -P {n + 1} {n * 64}k 64k" for n in range(8)))
    model = bytearray(oracle.content(tmp_path))
    update(tmp_path / "x", model, [Write(64 * KIB, b"a" * 64 * KIB), Write(256 * KIB, None, 64 * KIB)])
    judged(tmp_path, model)
    update(tmp_path / "x", model, [Write(0, b"b" * MIB)])
    judged(tmp_path, model)


def test_compressed_content_is_packed_and_a_later_update_takes_new_host_clusters(tmp_path):
    created(tmp_path, 2 * MIB)
    model = bytearray(2 * MIB)
    update(tmp_path / "x", model, [Write(0, b"".join(bytes((n,)) * 4096 for n in range(1, 129)))], compress=True)
    judged(tmp_path, model)
    assert all(each[5] for each in mapped(tmp_path) if each[4])
    assert (tmp_path / "x").stat().st_size < 8 * 64 * KIB
    update(tmp_path / "x", model, [Write(128 * KIB, b"z" * 64 * KIB)], compress=True)
    judged(tmp_path, model)


def test_a_subcluster_of_a_shared_cluster_takes_the_others_along(tmp_path):
    created(tmp_path, MIB, "extended_l2=on", backing=b"\5" * MIB)
    oracle.io(tmp_path, "write -P 1 0 8k", "write -P 2 20k 4k", "write -z 12k 4k")
    oracle.img(tmp_path, "snapshot", "-c", "s", "x")
    old = oracle.content(tmp_path)
    model = bytearray(old)
    unit = update(tmp_path / "x", model, [Write(2 * KIB, b"a" * 4 * KIB), Write(40 * KIB, None, 2 * KIB)])
    assert unit == 2 * KIB
    judged(tmp_path, model, [(1, old)])


def test_subclusters_that_were_not_written_still_show_the_backing_file(tmp_path):
    created(tmp_path, MIB, "extended_l2=on", backing=b"\5" * MIB)
    model = bytearray(b"\5" * MIB)
    update(tmp_path / "x", model, [Write(2 * KIB, b"a" * 2 * KIB), Write(6 * KIB, None, 2 * KIB)])
    judged(tmp_path, model)
    assert oracle.info(tmp_path)["format-specific"]["data"]["extended-l2"]
    assert [each[:2] for each in mapped(tmp_path) if each[2] and each[3]] == [(6 * KIB, 2 * KIB)]


def test_images_with_compressed_clusters_are_written_by_whole_clusters_even_with_subclusters(tmp_path):
    created(tmp_path, MIB, "extended_l2=on")
    oracle.io(tmp_path, "write -c -P 7 0 64k")
    model = bytearray(oracle.content(tmp_path))
    assert update(tmp_path / "x", model, [Write(2 * KIB, b"a" * 2 * KIB)]) == 64 * KIB
    judged(tmp_path, model)


@pytest.mark.parametrize("options", [(), ("extended_l2=on",)])
def test_zeros_take_the_place_away_as_qemu_does_in_a_commit(tmp_path, options):
    created(tmp_path, MIB, *options)
    oracle.io(tmp_path, "write -P 1 0 1M")
    (tmp_path / "twin").write_bytes((tmp_path / "x").read_bytes())
    model = bytearray(oracle.content(tmp_path))
    update(tmp_path / "x", model, [Write(128 * KIB, None, 128 * KIB)])
    oracle.io(tmp_path, "write -z -u 128k 128k", name="twin")
    judged(tmp_path, model)
    assert mapped(tmp_path) == mapped(tmp_path, "twin")


def test_zeros_in_version_2_are_stored_over_a_backing_file_and_free_without(tmp_path):
    for backing, data in ((b"\5" * MIB, True), (None, False)):
        (tmp_path / str(data)).mkdir()
        folder = tmp_path / str(data)
        created(folder, MIB, "compat=0.10", backing=backing)
        oracle.io(folder, "write -P 1 0 256k")
        model = bytearray(oracle.content(folder))
        update(folder / "x", model, [Write(64 * KIB, None, 64 * KIB)])
        judged(folder, model)
        assert mapped(folder)[0][4] and (mapped(folder)[1][4] is False or data)


def test_a_preallocated_zero_cluster_is_written_where_it_lies(tmp_path):
    created(tmp_path, MIB, "preallocation=metadata")
    oracle.io(tmp_path, "write -P 1 0 256k", "write -z 0 128k")
    model, length = bytearray(oracle.content(tmp_path)), (tmp_path / "x").stat().st_size
    update(tmp_path / "x", model, [Write(0, b"a" * 64 * KIB)])
    judged(tmp_path, model)
    assert (tmp_path / "x").stat().st_size == length


def test_what_the_disk_does_not_reach_to_is_zeros_when_it_grows(tmp_path):
    size = MIB + 8 * KIB
    for options in ((), ("extended_l2=on",)):
        folder = tmp_path / str(len(options))
        folder.mkdir()
        created(folder, size, *options)
        # Clusters full of ones that are free afterwards.
        oracle.io(folder, "write -P 255 0 1M", "discard 0 1M")
        with (folder / "x").open("r+b") as file:
            file.seek(5 * 64 * KIB)
            file.write(b"\xff" * (16 * 64 * KIB))
        model = bytearray(size)
        update(folder / "x", model, [Write(MIB, b"a" * 8 * KIB)])
        judged(folder, model)
        oracle.img(folder, "resize", "x", str(2 * MIB))
        assert oracle.content(folder)[size:] == bytes(2 * MIB - size)


def test_the_refcount_table_grows_when_it_is_full(tmp_path):
    # A table of one cluster of 512 bytes counts 64 blocks of 64 clusters: 2 MiB of file.
    created(tmp_path, 16 * MIB, "cluster_size=512", "refcount_bits=64")
    model = bytearray(16 * MIB)
    before = oracle.info(tmp_path)
    draw = random.Random(3)
    update(tmp_path / "x", model, [Write(0, updating.noise(draw, 6 * MIB))])
    judged(tmp_path, model)
    assert oracle.info(tmp_path)["virtual-size"] == before["virtual-size"]
    update(tmp_path / "x", model, [Write(5 * MIB, updating.noise(draw, 7 * MIB))])
    judged(tmp_path, model)


def test_a_hole_in_the_refcount_table_is_filled(tmp_path):
    created(tmp_path, 8 * MIB, "cluster_size=512", "refcount_bits=64")
    oracle.io(tmp_path, "write -P 1 0 64k")
    path = tmp_path / "x"
    with path.open("r+b") as file:
        data = file.read()
        table = int.from_bytes(data[48:56], "big")
        entries = data[table : table + 512]
        last = max(n for n in range(64) if any(entries[8 * n : 8 * n + 8]))
        # A block that counts only itself, three blocks further.
        place = (last + 3) * 64 * 512
        file.seek(table + 8 * (last + 3))
        file.write(place.to_bytes(8, "big"))
        file.seek(place)
        file.write((1).to_bytes(8, "big").ljust(512, b"\0"))
    model = bytearray(oracle.content(tmp_path))
    oracle.assert_clean(tmp_path)
    update(path, model, [Write(0, b"a" * 900 * KIB)])
    judged(tmp_path, model)


def test_a_device_longer_than_its_refcounts_know_is_filled_from_within(tmp_path):
    created(tmp_path, 8 * MIB, "cluster_size=512", "refcount_bits=64")
    oracle.io(tmp_path, "write -P 1 0 64k")
    with (tmp_path / "x").open("r+b") as file:
        file.seek(0, 2)
        file.write(b"\xff" * (20 * MIB))
    length = (tmp_path / "x").stat().st_size
    model = bytearray(oracle.content(tmp_path))
    update(tmp_path / "x", model, [Write(0, b"a" * 4 * MIB), Write(6 * MIB, b"b" * MIB)])
    judged(tmp_path, model)
    assert (tmp_path / "x").stat().st_size == length


def test_bitmaps_that_track_changes_have_what_was_written_and_no_more(tmp_path):
    if not bitmaps.QEMU_NBD:
        pytest.skip("qemu-nbd is not installed")
    created(tmp_path, 64 * MIB)
    for name, grain in (("a", 64 * KIB), ("b", 512)):
        oracle.img(tmp_path, "bitmap", "--add", "-g", str(grain), "x", name)
    oracle.img(tmp_path, "bitmap", "--add", "--disable", "x", "off")
    oracle.io(tmp_path, "write -P 1 10M 1M")
    model = bytearray(oracle.content(tmp_path))
    update(tmp_path / "x", model, [Write(0, b"a" * 64 * KIB), Write(20 * MIB, None, MIB), Write(63 * MIB, b"b" * MIB)])
    judged(tmp_path, model)
    wanted = [(0, 64 * KIB), (10 * MIB, MIB), (20 * MIB, MIB), (63 * MIB, MIB)]
    for name in ("a", "b"):
        assert bitmaps.dirty(tmp_path / "x", name) == wanted
    assert bitmaps.dirty(tmp_path / "x", "off") == []
    assert [each[2] for each in bitmaps.listed(tmp_path / "x")] == [("auto",), ("auto",), ()]


def test_a_bitmap_of_small_windows_has_what_was_written_and_no_more(tmp_path):
    if not bitmaps.QEMU_NBD:
        pytest.skip("qemu-nbd is not installed")
    created(tmp_path, 9 * MIB, "cluster_size=512")
    oracle.img(tmp_path, "bitmap", "--add", "-g", "512", "x", "a")
    model = bytearray(9 * MIB)
    draw = random.Random(4)
    marks = set()
    for _ in range(4):
        writes = updating.drawn(draw, 9 * MIB, 5)
        update(tmp_path / "x", model, writes)
        for start, data, length in writes:
            marks.update(range(start, min(9 * MIB, start + (length if data is None else len(data))), 512))
        judged(tmp_path, model)
        assert {
            at for start, length in bitmaps.dirty(tmp_path / "x", "a") for at in range(start, start + length, 512)
        } == marks


@pytest.mark.parametrize("options", [encryption.FAST, encryption.AES], ids=["luks", "aes"])
@pytest.mark.parametrize(
    "more", [{}, {"extended_l2": "on"}, {"cluster_size": 512}], ids=["plain", "subclusters", "small"]
)
def test_an_encrypted_image_is_written_encrypted(tmp_path, options, more):
    pytest.importorskip("cryptography", reason="cryptography is not installed")
    size = MIB + 5 * 512
    encryption.created(tmp_path, {**options, **more}, size)
    encryption.io(tmp_path, "write -P 1 0 256k", "write -P 2 700k 100k")
    encryption.img(tmp_path, "snapshot", "-c", "s")
    old = encryption.content(tmp_path)
    model = bytearray(old)
    draw = random.Random(5)
    for _ in range(3):
        update(tmp_path / "x", model, [*updating.drawn(draw, size, 4), Write(size - 512, b"e" * 512)], keyed=True)
        encryption.assert_clean(tmp_path)
        assert encryption.content(tmp_path) == bytes(model)
        assert encryption.content(tmp_path, snapshot=1) == old
    assert b"e" * 512 not in (tmp_path / "x").read_bytes()


def test_an_update_without_content_leaves_every_byte(tmp_path):
    created(tmp_path, MIB)
    oracle.io(tmp_path, "write -P 1 0 64k")
    before = (tmp_path / "x").read_bytes()
    update(tmp_path / "x", bytearray(MIB), [])
    assert (tmp_path / "x").read_bytes() == before


def test_images_that_were_not_closed_or_are_corrupt_are_not_written_without_a_repair(tmp_path):
    for bit, words in ((1, "not closed cleanly"), (2, "Image is corrupt")):
        created(tmp_path, MIB)
        with (tmp_path / "x").open("r+b") as file:
            file.seek(79)
            file.write(bytes((bit,)))
        image = Image([bytes_source((tmp_path / "x").read_bytes())])
        for request in (Update(), Empty()):
            with pytest.raises(FormatError, match=words):
                next(iter(write(image, request, ())))


def test_an_entry_that_points_at_metadata_is_not_written_through(tmp_path):
    created(tmp_path, MIB)
    oracle.io(tmp_path, "write -P 1 0 64k")
    path = tmp_path / "x"
    data = path.read_bytes()
    l1 = int.from_bytes(data[40:48], "big")
    l2 = int.from_bytes(data[l1 : l1 + 8], "big") & ~(1 << 63)
    for victim in (l1, l2, int.from_bytes(data[48:56], "big")):
        with path.open("r+b") as file:
            file.seek(l2)
            file.write((1 << 63 | victim).to_bytes(8, "big"))
        before = path.read_bytes()
        with pytest.raises(FormatError, match="metadata"):
            update(path, bytearray(MIB), [Write(0, b"a" * 64 * KIB)])
        assert path.read_bytes() == before


def test_a_feature_that_nobody_keeps_up_is_not_claimed_any_more(tmp_path):
    created(tmp_path, MIB)
    with (tmp_path / "x").open("r+b") as file:
        file.seek(95)
        file.write(b"\x80")
    update(tmp_path / "x", bytearray(MIB), [Write(0, b"a" * 512)])
    assert (tmp_path / "x").read_bytes()[88:96] == bytes(8)
