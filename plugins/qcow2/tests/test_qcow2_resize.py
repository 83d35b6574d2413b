"""Disks grown and shrunk in place, judged by qemu-img doing the same to a twin, also after a stop at any point."""

from __future__ import annotations

import json
import random
import shutil

import pytest

from instar_core.errors import FormatError
from instar_core.testing.beside import beside
from instar_core.types import Barrier, Punch, Put, Reserve, Resize, Truncate

load = beside(__file__)
executor, oracle, cuts = load("qcow2_executor"), load("qcow2_oracle"), load("qcow2_cuts")
pytestmark = [oracle.needs_qemu_io, pytest.mark.oracle]

KIB, MIB = 1 << 10, 1 << 20
IMAGES = {
    "default": "cluster_size=64k",
    "512": "cluster_size=512",
    "512-v2": "cluster_size=512,compat=0.10",
    "4k-refcount-1": "cluster_size=4k,refcount_bits=1",
    "1k-refcount-4": "cluster_size=1k,refcount_bits=4",
    "512-refcount-64": "cluster_size=512,refcount_bits=64",
    "extended": "cluster_size=16k,extended_l2=on",
    "lazy": "cluster_size=4k,lazy_refcounts=on",
}


def image(folder, options, size=MIB, *, backing=0):
    words = []
    if backing:
        (folder / "b").write_bytes(b"\x07" * backing)
        words = ["-b", "b", "-F", "raw"]
    oracle.img(folder, "create", "-q", "-f", "qcow2", "-o", options, *words, "x", str(size))


def edits(folder, request, extra=()):
    return executor.planned(folder / "x", request, extra)


def carry_out(folder, planned, extra=()):
    executor.carry_out(folder / "x", planned, extra)


def resize(folder, size, how="off", *, below=None, extra=()):
    planned = edits(folder, Resize(size, how, below=below), extra)
    carry_out(folder, planned, extra)
    return planned


def mapped(folder, name="x"):
    """The map without places, and without whether the file system has holes under what is data."""
    found = []
    for entry in json.loads(oracle.img(folder, "map", "--output=json", name)):
        what = (entry["depth"], entry["present"], entry["data"], entry["data"] or entry["zero"])
        if found and found[-1][0] == what:
            found[-1][1] += entry["length"]
        else:
            found.append([what, entry["length"]])
    return found


def twin(folder, size, *words):
    shutil.copy(folder / "x", folder / "q")
    oracle.img(folder, "resize", "-q", "--shrink", *words, "q", str(size))


def same_as_twin(folder):
    assert mapped(folder) == mapped(folder, "q")
    ours, theirs = (oracle.info(folder, name) for name in "xq")
    if ours["virtual-size"] <= 64 * MIB:
        assert oracle.content(folder) == oracle.content(folder, "q")
    assert ours["format-specific"] == theirs["format-specific"]
    assert ours["virtual-size"] == theirs["virtual-size"]
    ours, theirs = (json.loads(oracle.img(folder, "check", "--output=json", name)) for name in "xq")
    for key in ("total-clusters", "allocated-clusters", "compressed-clusters"):
        assert ours.get(key) == theirs.get(key), key
    oracle.assert_clean(folder)


@pytest.mark.parametrize("name", IMAGES)
def test_a_disk_that_grows_and_shrinks_is_the_same_as_qemu_imgs(tmp_path, name):
    image(tmp_path, IMAGES[name])
    oracle.io(tmp_path, "write -P 1 0 300k", "write -P 2 700k 100k")
    for size in (8 * MIB, 8 * MIB + 512, 750 * KIB, 101 * KIB + 512, 16 * MIB, 512):
        twin(tmp_path, size)
        resize(tmp_path, size)
        same_as_twin(tmp_path)
    oracle.io(tmp_path, "write -P 9 0 512")
    oracle.assert_clean(tmp_path)


@pytest.mark.parametrize("how", ["metadata", "falloc", "full"])
@pytest.mark.parametrize("options", ["cluster_size=4k", "cluster_size=16k,extended_l2=on"])
def test_what_a_disk_grows_by_can_be_preallocated(tmp_path, options, how):
    image(tmp_path, options, 1000 * KIB + 512)
    oracle.io(tmp_path, "write -P 1 0 300k")
    twin(tmp_path, 3 * MIB, f"--preallocation={how}")
    planned = resize(tmp_path, 3 * MIB, how)
    same_as_twin(tmp_path)
    reserved = sum(edit.length for edit in planned if isinstance(edit, Reserve) and edit.how == how)
    assert reserved >= (2 * MIB if how != "metadata" else 0)


@pytest.mark.parametrize("options", ["cluster_size=4k", "cluster_size=16k,extended_l2=on"])
def test_a_larger_backing_image_does_not_show_where_a_disk_grows(tmp_path, options):
    image(tmp_path, options, 1024 * KIB, backing=4 * MIB)
    oracle.io(tmp_path, "write -P 1 0 300k")
    twin(tmp_path, 3 * MIB)
    resize(tmp_path, 3 * MIB, below=4 * MIB)
    same_as_twin(tmp_path)
    assert not any(oracle.content(tmp_path)[MIB:])


def test_where_the_size_of_the_backing_image_is_not_known_it_does_not_show_either(tmp_path):
    image(tmp_path, "cluster_size=4k", MIB, backing=4 * MIB)
    resize(tmp_path, 3 * MIB)
    assert not any(oracle.content(tmp_path)[MIB:])
    oracle.assert_clean(tmp_path)


def test_a_smaller_backing_image_costs_no_zero_clusters(tmp_path):
    image(tmp_path, "cluster_size=4k", MIB, backing=MIB)
    twin(tmp_path, 1536 * KIB)
    assert len([edit for edit in resize(tmp_path, 1536 * KIB, below=MIB) if isinstance(edit, Put)]) == 1
    same_as_twin(tmp_path)


def test_what_was_cut_off_is_zeros_when_the_disk_grows_again_unlike_with_qemu_img(tmp_path):
    image(tmp_path, "cluster_size=64k")
    oracle.io(tmp_path, "write -P 5 0 1M")
    resize(tmp_path, 100 * KIB)
    resize(tmp_path, MIB)
    assert oracle.content(tmp_path) == (b"\x05" * (100 * KIB)).ljust(MIB, b"\0")


def test_a_cluster_that_a_snapshot_shares_keeps_its_end_in_the_snapshot(tmp_path):
    image(tmp_path, "cluster_size=64k")
    oracle.io(tmp_path, "write -P 5 0 1M")
    oracle.img(tmp_path, "snapshot", "-c", "s", "x")
    oracle.img(tmp_path, "resize", "-q", "--shrink", "x", "100k")
    resize(tmp_path, MIB)
    oracle.assert_clean(tmp_path)
    assert oracle.content(tmp_path) == (b"\x05" * (100 * KIB)).ljust(MIB, b"\0")
    assert oracle.content(tmp_path, snapshot="1") == b"\x05" * MIB


def test_entries_that_others_left_behind_the_end_do_not_come_back(tmp_path):
    image(tmp_path, "cluster_size=4k", 8 * MIB)
    oracle.io(tmp_path, "write -P 5 0 4M", "write -P 6 6M 1M")
    with open(tmp_path / "x", "r+b") as file:  # as a stop right after the commit of a shrinking disk leaves it
        file.seek(24)
        file.write((MIB).to_bytes(8, "big"))
    resize(tmp_path, 8 * MIB)
    oracle.assert_clean(tmp_path)
    assert oracle.content(tmp_path) == (b"\x05" * MIB).ljust(8 * MIB, b"\0")


@pytest.mark.parametrize("raw", ["on", "off"])
def test_a_data_file_grows_and_shrinks_with_the_disk(tmp_path, raw):
    image(tmp_path, f"cluster_size=4k,data_file=d,data_file_raw={raw}", 1000 * KIB)
    oracle.io(tmp_path, "write -P 4 0 1000k")
    for size, how in ((2 * MIB, "off"), (500 * KIB, "off"), (2 * MIB, "falloc"), (512, "off")):
        shutil.copy(tmp_path / "d", tmp_path / "d.kept")
        twin(tmp_path, size, *([f"--preallocation={how}"] if how != "off" else []))
        theirs = (mapped(tmp_path, "q"), oracle.content(tmp_path, "q"), (tmp_path / "d").stat().st_size)
        shutil.copy(tmp_path / "d.kept", tmp_path / "d")
        resize(tmp_path, size, how, extra=[tmp_path / "d"])
        assert theirs == (mapped(tmp_path), oracle.content(tmp_path), (tmp_path / "d").stat().st_size)
        oracle.assert_clean(tmp_path)


@pytest.mark.parametrize("sizes", [(130 * MIB, 126 * MIB), (900 * KIB, 8 * MIB, 512)], ids=["tables", "bits"])
def test_bitmaps_grow_and_shrink_with_the_disk(tmp_path, sizes):
    image(tmp_path, "cluster_size=512")
    for name, grain in (("fine", 512), ("coarse", 1 << 20)):
        oracle.img(tmp_path, "bitmap", "--add", "-g", str(grain), "x", name)
    oracle.io(tmp_path, "write 0 4k", "write 1000k 4k")
    for size in sizes:  # the table of the fine one is longer than a cluster above 128 MiB
        twin(tmp_path, size)
        resize(tmp_path, size)
        same_as_twin(tmp_path)
    assert {bitmap["name"] for bitmap in oracle.info(tmp_path)["format-specific"]["data"]["bitmaps"]} == {
        "fine",
        "coarse",
    }


@pytest.mark.parametrize(
    ("options", "size", "words"),
    [
        ("cluster_size=4k", 1000, "The new size must be a multiple of 512"),
        ("cluster_size=64k", 1 << 60, "Failed to grow the L1 table: File too large"),
    ],
)
def test_what_qemu_img_refuses_is_refused_in_its_words(tmp_path, options, size, words):
    image(tmp_path, options)
    with pytest.raises(FormatError, match=words):
        edits(tmp_path, Resize(size))
    done = oracle.run(tmp_path, oracle.QEMU_IMG, "resize", "--shrink", "x", str(size))
    assert words in done.stderr


def test_a_version_2_image_with_snapshots_or_a_larger_backing_image_is_not_resized(tmp_path):
    image(tmp_path, "compat=0.10", backing=2 * MIB)
    with pytest.raises(FormatError, match="Failed to zero out new clusters: Operation not supported"):
        edits(tmp_path, Resize(2 * MIB, below=2 * MIB))
    oracle.img(tmp_path, "snapshot", "-c", "s", "x")
    with pytest.raises(FormatError, match="Can't resize a v2 image which has snapshots"):
        edits(tmp_path, Resize(2 * MIB, below=MIB))


def test_a_growing_image_with_an_unaligned_end_of_file_stays_whole(tmp_path):
    image(tmp_path, "cluster_size=4k")
    oracle.io(tmp_path, "write -P 1 0 300k")
    with open(tmp_path / "x", "r+b") as file:
        file.truncate((tmp_path / "x").stat().st_size - 1000)
    before = oracle.content(tmp_path)
    resize(tmp_path, 64 * MIB, "metadata")
    oracle.assert_clean(tmp_path)
    assert oracle.content(tmp_path)[:MIB] == before


def test_growing_to_a_tebibyte_costs_a_few_writes(tmp_path):
    image(tmp_path, "cluster_size=2M")
    planned = resize(tmp_path, 1 << 40)
    assert [type(edit) for edit in planned if not isinstance(edit, (Barrier, Truncate))].count(Put) <= 4
    oracle.assert_clean(tmp_path)


def test_what_a_smaller_file_does_not_have_any_more_is_not_given_up_first(tmp_path):
    image(tmp_path, "cluster_size=4k", 32 * MIB)
    oracle.io(tmp_path, "write -P 2 6M 1M", "write -P 1 0 1M", "write -P 3 8M 12M")
    planned = resize(tmp_path, 2 * MIB)
    end = next(edit.size for edit in planned if isinstance(edit, Truncate))
    punched = [edit for edit in planned if isinstance(edit, Punch)]
    assert punched and all(edit.offset + edit.length <= end for edit in punched)
    assert (tmp_path / "x").stat().st_size == end < 4 * MIB
    oracle.assert_clean(tmp_path)
    assert oracle.content(tmp_path) == b"\1" * MIB + bytes(MIB)


def level1(folder):
    """Where the L1 table lies, and its entries."""
    head = (folder / "x").read_bytes()[36:48]
    return int.from_bytes(head[4:], "big"), int.from_bytes(head[:4], "big")


def test_an_l1_table_grows_where_it_lies_while_its_cluster_has_room_by_one_write(tmp_path):
    image(tmp_path, "cluster_size=4k", 16 * MIB)
    oracle.io(tmp_path, "write -P 1 0 300k")
    before, (place, entries) = oracle.content(tmp_path), level1(tmp_path)
    planned = resize(tmp_path, 512 * MIB)
    assert [type(edit) for edit in planned if not isinstance(edit, Barrier)] == [Put]
    assert level1(tmp_path) == (place, 256) and entries == 8
    oracle.assert_clean(tmp_path)
    assert oracle.content(tmp_path)[: len(before)] == before
    oracle.io(tmp_path, "write -P 2 511M 1M")
    oracle.assert_clean(tmp_path)
    resize(tmp_path, 2048 * MIB)
    assert level1(tmp_path)[0] != place
    oracle.assert_clean(tmp_path)


def test_what_lies_behind_an_l1_table_is_not_taken_for_entries_when_it_grows(tmp_path):
    image(tmp_path, "cluster_size=4k", 16 * MIB)
    place, entries = level1(tmp_path)
    with open(tmp_path / "x", "r+b") as file:
        file.seek(place + 8 * (entries + 3))
        file.write(b"\x80" + bytes(5) + b"\x20\0")
    resize(tmp_path, 64 * MIB)
    assert level1(tmp_path)[0] != place
    oracle.assert_clean(tmp_path)
    assert oracle.content(tmp_path) == bytes(64 * MIB)


def test_many_refcount_blocks_are_named_after_the_one_that_counts_them(tmp_path):
    image(tmp_path, "cluster_size=512,refcount_bits=64")
    planned = edits(tmp_path, Resize(2 * MIB, "metadata"))
    start = (tmp_path / "x").read_bytes()
    before = oracle.content(tmp_path)
    for state in cuts.states(planned, random.Random(3), 40):
        (tmp_path / "x").write_bytes(start)
        carry_out(tmp_path, state)
        assert oracle.check(tmp_path)[1] == 0
        assert oracle.content(tmp_path)[: len(before)] == before


HISTORIES = {
    "default": ("cluster_size=64k", 0, False),
    "512-shared": ("cluster_size=512", 0, True),
    "backed": ("cluster_size=4k", 4 * MIB, False),
    "extended": ("cluster_size=16k,extended_l2=on", 0, True),
    "compressed": ("cluster_size=1k,refcount_bits=8", 0, True),
}


@pytest.mark.parametrize("name", HISTORIES)
@pytest.mark.parametrize("size", [333 * KIB + 512, 9 * MIB])
def test_a_stop_at_any_write_leaves_the_old_disk_or_the_new_one(tmp_path, name, size):
    options, backing, snapshot = HISTORIES[name]
    image(tmp_path, options, backing=backing)
    oracle.io(tmp_path, "write -P 1 0 400k", "write -P 2 700k 100k")
    if name == "compressed":
        oracle.io(tmp_path, *(f"write -c -P {at - 400} {at}k 1k" for at in range(500, 520)))
    if snapshot:
        oracle.img(tmp_path, "snapshot", "-c", "s", "x")
        oracle.io(tmp_path, "write -P 3 300k 20k")
    else:
        oracle.img(tmp_path, "bitmap", "--add", "-g", "512", "x", "b")
    planned = edits(tmp_path, Resize(size, below=backing or None))
    start, old = (tmp_path / "x").read_bytes(), oracle.content(tmp_path)
    shot = oracle.content(tmp_path, snapshot="1")[: 300 * KIB] if snapshot else b""
    new = old[:size].ljust(size, b"\0")
    for state in cuts.states(planned, random.Random(name), 25):
        (tmp_path / "x").write_bytes(start)
        carry_out(tmp_path, state)
        code, corruptions, _, text = oracle.check(tmp_path)
        assert code in (0, 3) and not corruptions, text
        assert oracle.content(tmp_path) in (old, new)
        if snapshot:
            assert oracle.content(tmp_path, snapshot="1")[: len(shot)] == shot
