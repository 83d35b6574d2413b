"""Options of images changed in place, judged by qemu-img, also after a stop at any point."""

from __future__ import annotations

import json
import random
import shutil

import pytest
from instar_qcow2.write import write

from instar_core.errors import FormatError
from instar_core.testing.beside import beside
from instar_core.types import Amend

load = beside(__file__)
executor, oracle, cuts = load("qcow2_executor"), load("qcow2_oracle"), load("qcow2_cuts")
pytestmark = [oracle.needs_qemu_io, pytest.mark.oracle]


def image(folder, options="cluster_size=4k", *, backing=False, size="1M"):
    words = []
    if backing:
        (folder / "b").write_bytes(b"\x07" * (1 << 20))
        words = ["-b", "b", "-F", "raw"]
    oracle.img(folder, "create", "-q", "-f", "qcow2", "-o", options, *words, "x", size)


def edits(folder, extra=(), below=None, **options):
    return executor.planned(folder / "x", Amend(options, below=below), extra)


def carry_out(folder, planned, extra=()):
    executor.carry_out(folder / "x", planned, extra)


def amend(folder, **options):
    carry_out(folder, edits(folder, **options))


def details(folder, name="x"):
    return oracle.info(folder, name)["format-specific"]["data"]


def text(value):
    return {True: "on", False: "off"}.get(value, value) if isinstance(value, bool) else str(value)


CASES = [
    ({}, {"compat": "0.10"}),
    ({"compat": "0.10"}, {"compat": "1.1"}),
    ({"compat": "0.10"}, {"compat": "v3", "lazy_refcounts": True, "refcount_bits": 8}),
    ({"lazy_refcounts": True}, {"lazy_refcounts": False}),
    ({"lazy_refcounts": True}, {"compat": "v2"}),
    ({"refcount_bits": 8}, {"compat": "0.10", "refcount_bits": 16}),
    ({"refcount_bits": 1}, {"size": 3 << 20, "refcount_bits": 64}),
    ({}, {"size": 100 << 10}),
    ({"compat": "0.10"}, {"size": 64 << 20}),
    ({"data_file": "d"}, {"data_file": "e"}),
    ({"data_file": "d", "data_file_raw": True}, {"data_file_raw": False}),
    *(({"cluster_size": 512}, {"refcount_bits": bits}) for bits in (1, 2, 4, 8, 32, 64)),
]


@pytest.mark.parametrize(("made", "options"), CASES)
def test_an_amended_image_is_what_qemu_img_makes_of_it(tmp_path, made, options):
    image(tmp_path, ",".join(f"{key}={text(value)}" for key, value in {"cluster_size": "4k", **made}.items()))
    oracle.io(tmp_path, "write -P 1 0 200k")
    extra = [tmp_path / "d"] if "data_file" in made else []
    shutil.copy(tmp_path / "x", tmp_path / "q")
    before = oracle.content(tmp_path)
    oracle.img(tmp_path, "amend", "-o", ",".join(f"{key}={text(value)}" for key, value in options.items()), "q")
    carry_out(tmp_path, edits(tmp_path, extra, **options), extra)
    assert details(tmp_path) == details(tmp_path, "q")
    if "data_file" in options:
        (tmp_path / "d").rename(tmp_path / "e")
    assert oracle.info(tmp_path)["virtual-size"] == oracle.info(tmp_path, "q")["virtual-size"]
    assert oracle.content(tmp_path)[: 100 << 10] == before[: 100 << 10]
    assert oracle.content(tmp_path) == oracle.content(tmp_path, "q")
    oracle.assert_clean(tmp_path)


REFUSED = [
    ("cluster_size=4k", {"compat": "foo"}, "Unknown compatibility level foo"),
    ("cluster_size=4k", {"refcount_bits": 3}, "Refcount width must be a power of two and may not exceed 64 bits"),
    ("cluster_size=4k", {"refcount_bits": 128}, "Refcount width must be a power of two and may not exceed 64 bits"),
    ("cluster_size=4k", {"backing_file": "b"}, "Cannot amend the backing file"),
    ("cluster_size=4k", {"data_file": "b"}, "data-file can only be set for images that use an external data file"),
    ("cluster_size=4k", {"data_file_raw": True}, "data-file-raw cannot be set on existing images"),
    ("cluster_size=4k", {"size": 1000}, "The new size must be a multiple of 512"),
    ("cluster_size=4k", {"compat": "0.10", "lazy_refcounts": True}, "Lazy refcounts only supported with compat"),
    ("cluster_size=4k", {"compat": "0.10", "refcount_bits": 64}, "Refcount widths other than 16 bits require compat"),
    ("refcount_bits=8", {"compat": "0.10"}, "compat=0.10 requires refcount_bits=16"),
    (
        "cluster_size=16k,extended_l2=on",
        {"compat": "0.10"},
        "Cannot downgrade an image with incompatible features",
    ),
    ("data_file=d", {"compat": "0.10"}, "Cannot downgrade an image with a data file"),
]


@pytest.mark.parametrize(("made", "options", "words"), REFUSED)
def test_what_qemu_img_refuses_is_refused_in_its_words_and_nothing_changes(tmp_path, made, options, words):
    image(tmp_path, made)
    with pytest.raises(FormatError, match=words):
        edits(tmp_path, [tmp_path / "d"] if "data_file" in made else [], **options)
    given = ",".join(f"{key}={text(value)}" for key, value in options.items())
    done = oracle.run(tmp_path, oracle.QEMU_IMG, "amend", "-o", given, "x")
    assert done.returncode == 1
    assert words in done.stderr


@pytest.mark.parametrize("bits", [1, 2])
def test_a_refcount_that_does_not_fit_is_named_with_its_place(tmp_path, bits):
    image(tmp_path)
    oracle.io(tmp_path, "write 0 64k")
    for name in "abc":
        oracle.img(tmp_path, "snapshot", "-c", name, "x")
    with pytest.raises(FormatError) as caught:
        edits(tmp_path, refcount_bits=bits)
    done = oracle.run(tmp_path, oracle.QEMU_IMG, "amend", "-o", f"refcount_bits={bits}", "x")
    assert done.stderr.strip() == f"qemu-img: {caught.value.message}"


def test_a_refcount_that_does_not_fit_prevents_another_size_too(tmp_path):
    image(tmp_path)
    oracle.io(tmp_path, "write 0 64k")
    oracle.img(tmp_path, "snapshot", "-c", "a", "x")
    before = (tmp_path / "x").read_bytes()
    made = executor.Files(tmp_path / "x")
    with pytest.raises(FormatError, match="Cannot decrease refcount entry width to 1 bits"):
        for edit in write(made.image(), Amend({"refcount_bits": 1, "size": 2 << 20}), iter(())):
            made.apply(edit)
    made.close()
    assert (tmp_path / "x").read_bytes() == before


def test_snapshots_that_version_2_cannot_have_prevent_it(tmp_path):
    image(tmp_path)
    oracle.img(tmp_path, "snapshot", "-c", "s", "x")
    oracle.img(tmp_path, "resize", "-q", "x", "2M")
    with pytest.raises(FormatError, match="Internal snapshots prevent downgrade of image"):
        edits(tmp_path, compat="0.10")
    done = oracle.run(tmp_path, oracle.QEMU_IMG, "amend", "-o", "compat=0.10", "x")
    assert "Internal snapshots prevent downgrade of image" in done.stderr


@pytest.mark.parametrize("backing", [False, True])
def test_version_2_says_zeros_without_zero_clusters_also_in_snapshots_where_qemu_img_corrupts_them(tmp_path, backing):
    """quirk("amend-zero-clusters-of-snapshots")"""
    image(tmp_path, backing=backing)
    oracle.io(tmp_path, "write -P 1 128k 64k", "write -z 0 64k", "write -z 160k 8k", "write -z -u 170k 8k")
    oracle.img(tmp_path, "snapshot", "-c", "s", "x")
    oracle.io(tmp_path, "write -z 200k 16k", "write -P 3 300k 4k")
    before = oracle.contents(tmp_path)
    amend(tmp_path, compat="0.10")
    assert oracle.contents(tmp_path) == before
    assert details(tmp_path)["compat"] == "0.10"
    oracle.assert_clean(tmp_path)
    oracle.io(tmp_path, "write -P 8 0 1M")
    assert oracle.contents(tmp_path)["1"] == before["1"]
    oracle.assert_clean(tmp_path)


def test_bitmaps_go_with_version_3_and_leave_no_leaks_unlike_with_qemu_img(tmp_path):
    """quirk("amend-frees-bitmaps")"""
    image(tmp_path)
    oracle.img(tmp_path, "bitmap", "--add", "x", "b")
    amend(tmp_path, compat="0.10")
    oracle.assert_clean(tmp_path)
    amend(tmp_path, compat="1.1")
    assert "bitmaps" not in details(tmp_path)


def test_clusters_that_are_reserved_for_zeros_are_freed_with_version_3_unlike_with_qemu_img(tmp_path):
    """quirk("amend-frees-zeros")"""
    image(tmp_path)
    oracle.io(tmp_path, "write -P 1 0 16k", "write -z 4k 8k")
    before = oracle.contents(tmp_path)
    amend(tmp_path, compat="0.10")
    assert oracle.contents(tmp_path) == before
    mapped = json.loads(oracle.img(tmp_path, "map", "--output=json", "x"))
    told = [(each["start"], each["length"], each["present"]) for each in mapped]
    assert told == [(0, 4096, True), (4096, 8192, False), (12288, 4096, True), (16384, (1 << 20) - 16384, False)]
    oracle.assert_clean(tmp_path)


STOPPED = {
    "downgrade": ("cluster_size=4k", {"compat": "0.10"}),
    "downgrade-backed": ("cluster_size=512", {"compat": "0.10", "size": 2 << 20}),
    "upgrade": ("cluster_size=4k,compat=0.10", {"compat": "1.1", "lazy_refcounts": True}),
    "narrow": ("cluster_size=512", {"refcount_bits": 2}),
    "wide": ("cluster_size=512,refcount_bits=4", {"refcount_bits": 64, "size": 300 << 10}),
}


@pytest.mark.parametrize("name", STOPPED)
def test_a_stop_at_any_write_leaves_an_image_that_reads_as_before_or_after(tmp_path, name):
    made, options = STOPPED[name]
    image(tmp_path, made, backing="backed" in name)
    oracle.io(tmp_path, "write -P 1 128k 64k", "write -P 2 500k 100k")
    if "compat" not in made:
        oracle.io(tmp_path, "write -z 0 64k", "write -z 160k 8k")
    if "size" not in options:
        oracle.img(tmp_path, "snapshot", "-c", "s", "x")
        oracle.io(tmp_path, "write -P 3 150k 100k")
    planned = edits(tmp_path, below=1 << 20, **options)
    start, old = (tmp_path / "x").read_bytes(), oracle.content(tmp_path)
    shot = oracle.content(tmp_path, snapshot="1") if "size" not in options else None
    size = options.get("size", len(old))
    for state in cuts.states(planned, random.Random(name), 25):
        (tmp_path / "x").write_bytes(start)
        carry_out(tmp_path, state)
        code, corruptions, _, said = oracle.check(tmp_path)
        assert code in (0, 3) and not corruptions, said
        assert oracle.content(tmp_path) in (old, old[:size].ljust(size, b"\0"))
        assert shot is None or oracle.content(tmp_path, snapshot="1") == shot


def test_all_widths_follow_one_another_and_keep_every_refcount(tmp_path):
    image(tmp_path, "cluster_size=512")
    oracle.io(tmp_path, "write -P 1 0 300k")
    for name in "abc":
        oracle.img(tmp_path, "snapshot", "-c", name, "x")
    before = oracle.contents(tmp_path)
    for bits in (4, 64, 8, 32, 16):
        amend(tmp_path, refcount_bits=bits)
        assert details(tmp_path)["refcount-bits"] == bits
        oracle.assert_clean(tmp_path)
    assert oracle.contents(tmp_path) == before
    assert json.loads(oracle.img(tmp_path, "check", "--output=json", "x"))["check-errors"] == 0
