"""Images emptied in place, as after a commit, judged by QEMU's programs."""

from __future__ import annotations

import json
import random
import shutil

import pytest

from instar_core.errors import FormatError
from instar_core.testing.beside import beside

load = beside(__file__)
oracle, updating = load("qcow2_oracle"), load("qcow2_updating")
encryption, bitmaps = load("qcow2_encryption"), load("qcow2_bitmap_oracle")
pytestmark = oracle.needs_qemu_io

KIB, MIB = 1 << 10, 1 << 20


def overlay(folder, *options):
    """An overlay with content of every kind over a base."""
    (folder / "base").write_bytes(random.Random(1).randbytes(4 * MIB))
    words = ["-o", ",".join(options)] if options else []
    oracle.img(folder, "create", "-q", "-f", "qcow2", *words, "-b", "base", "-F", "raw", "x", "4M")
    if not any(option.startswith("data_file") for option in options):
        cluster = oracle.info(folder)["cluster-size"]
        oracle.io(folder, f"write -c -P 9 {3 * MIB // cluster * cluster} {cluster}")
    oracle.io(folder, "write -P 1 128k 1M", "write -P 2 3700k 100k")
    if "compat=0.10" not in options:
        oracle.io(folder, "write -z 256k 128k")


def facts(folder, name="x"):
    """What qemu-img says of the image but how much of the disk it takes."""
    found = oracle.info(folder, name)
    for key in ("actual-size", "filename", "children"):
        found.pop(key, None)
    return found


@pytest.mark.parametrize(
    "options",
    [(), ("extended_l2=on",), ("cluster_size=512", "refcount_bits=64"), ("cluster_size=2M",), ("refcount_bits=1",)],
    ids=["plain", "subclusters", "small", "large", "1 bit"],
)
def test_an_emptied_overlay_is_what_qemu_leaves_after_a_commit(tmp_path, options):
    overlay(tmp_path, *options)
    twin = tmp_path / "twin"
    twin.mkdir()
    for name in ("x", "base"):
        shutil.copy(tmp_path / name, twin / name)
    oracle.img(twin, "commit", "-q", "x")
    shutil.copy(twin / "base", tmp_path / "base")
    updating.empty(tmp_path / "x")
    oracle.assert_clean(tmp_path)
    assert oracle.content(tmp_path) == oracle.content(twin)
    assert facts(tmp_path) == facts(twin)
    assert (tmp_path / "x").stat().st_size <= (twin / "x").stat().st_size
    for folder in (tmp_path, twin):
        assert {each["depth"] for each in json.loads(oracle.img(folder, "map", "--output=json", "x"))} == {1}


def test_an_emptied_image_of_version_2_frees_its_tables_too(tmp_path):
    overlay(tmp_path, "compat=0.10")
    updating.empty(tmp_path / "x")
    oracle.assert_clean(tmp_path)
    assert oracle.content(tmp_path) == (tmp_path / "base").read_bytes()
    assert (tmp_path / "x").stat().st_size == 4 * 64 * KIB


def test_snapshots_of_an_emptied_image_are_as_before(tmp_path):
    overlay(tmp_path)
    oracle.img(tmp_path, "snapshot", "-c", "s", "x")
    oracle.io(tmp_path, "write -P 3 0 1M")
    old = oracle.content(tmp_path, snapshot=1)
    updating.empty(tmp_path / "x")
    oracle.assert_clean(tmp_path)
    assert oracle.content(tmp_path) == (tmp_path / "base").read_bytes()
    assert oracle.content(tmp_path, snapshot=1) == old
    oracle.img(tmp_path, "snapshot", "-a", "s", "x")
    assert oracle.content(tmp_path) == old
    oracle.assert_clean(tmp_path)


def test_bitmaps_of_an_emptied_image_are_as_before(tmp_path):
    if not bitmaps.QEMU_NBD:
        pytest.skip("qemu-nbd is not installed")
    overlay(tmp_path)
    oracle.img(tmp_path, "bitmap", "--add", "x", "b")
    oracle.io(tmp_path, "write -P 3 0 128k")
    listed, dirty = bitmaps.listed(tmp_path / "x"), bitmaps.dirty(tmp_path / "x", "b")
    updating.empty(tmp_path / "x")
    oracle.assert_clean(tmp_path)
    assert (bitmaps.listed(tmp_path / "x"), bitmaps.dirty(tmp_path / "x", "b")) == (listed, dirty)


def test_the_data_file_of_an_emptied_image_keeps_nothing(tmp_path):
    overlay(tmp_path, "data_file=d")
    updating.empty(tmp_path / "x")
    oracle.assert_clean(tmp_path)
    assert oracle.content(tmp_path) == (tmp_path / "base").read_bytes()
    assert not any((tmp_path / "d").read_bytes())


def test_an_image_whose_data_file_is_its_disk_is_not_emptied(tmp_path):
    oracle.img(tmp_path, "create", "-q", "-f", "qcow2", "-o", "data_file=d,data_file_raw=on", "x", "1M")
    oracle.io(tmp_path, "write -P 1 0 1M")
    before = (tmp_path / "x").read_bytes(), (tmp_path / "d").read_bytes()
    with pytest.raises(FormatError, match="cannot be emptied"):
        updating.empty(tmp_path / "x")
    assert ((tmp_path / "x").read_bytes(), (tmp_path / "d").read_bytes()) == before


def test_an_emptied_encrypted_image_is_still_opened_by_its_passphrase(tmp_path):
    pytest.importorskip("cryptography", reason="cryptography is not installed")
    encryption.created(tmp_path, encryption.FAST, MIB)
    encryption.io(tmp_path, "write -P 1 0 512k")
    updating.empty(tmp_path / "x", keyed=True)
    encryption.assert_clean(tmp_path)
    assert encryption.content(tmp_path) == bytes(MIB)
    model = bytearray(MIB)
    updating.update(tmp_path / "x", model, [updating.Write(64 * KIB, b"a" * 64 * KIB)], keyed=True)
    assert encryption.content(tmp_path) == bytes(model)


def test_an_image_may_be_emptied_twice(tmp_path):
    overlay(tmp_path)
    updating.empty(tmp_path / "x")
    before = (tmp_path / "x").read_bytes()
    updating.empty(tmp_path / "x")
    oracle.assert_clean(tmp_path)
    assert (tmp_path / "x").read_bytes() == before
