"""The power is cut while content is written in place, or an image emptied: what is left is judged by qemu-img."""

from __future__ import annotations

import json
import os
import random
import subprocess

import pytest

from instar_core.operations.repair import repair
from instar_core.testing.beside import beside
from instar_core.testing.crash import History
from instar_core.testing.recorder import Recorder, store

load = beside(__file__)
oracle, updating, bitmaps = load("qcow2_oracle"), load("qcow2_updating"), load("qcow2_bitmap_oracle")
pytestmark = oracle.needs_qemu_io

KIB, MIB = 1 << 10, 1 << 20
SECTOR = 512
SEED = int(os.environ.get("INSTAR_SEED") or 1)
MOST = int(os.environ.get("INSTAR_CUTS") or 24)
"""States that are judged of each case."""

SHAPES = {
    "plain": ("cluster_size=64k",),
    "small clusters": ("cluster_size=512", "refcount_bits=64"),
    "subclusters": ("cluster_size=16k", "extended_l2=on"),
    "few bits": ("cluster_size=1k", "refcount_bits=8"),
    "data file": ("data_file=d",),
}


def made(folder, shape, draw):
    """An image with content of every kind, two snapshots where it can have them, and a bitmap."""
    options = SHAPES[shape]
    size = 512 * draw.randrange(2000, 5000)
    (folder / "base").write_bytes(draw.randbytes(size))
    oracle.img(
        folder, "create", "-q", "-f", "qcow2", "-o", ",".join(options), "-b", "base", "-F", "raw", "x", str(size)
    )
    oracle.img(folder, "bitmap", "--add", "-g", "4k", "x", "b")
    cluster = oracle.info(folder)["cluster-size"]
    external = "data_file=d" in options
    if not external:
        at = draw.randrange(size // cluster - 4) * cluster
        oracle.io(folder, *(f"write -c -P {n + 9} {at + n * cluster} {cluster}" for n in range(4)))
    for number in range(3):
        start = 512 * draw.randrange(size // 1024)
        oracle.io(folder, f"write -P {number + 1} {start} 192k", f"write -z {start + 70 * KIB} 20k")
        if number < 2 and not external:
            oracle.img(folder, "snapshot", "-c", f"s{number}", "x")
    return size


def seen(folder):
    """The disk and the snapshots' disks."""
    return oracle.content(folder), [
        oracle.content(folder, snapshot=each["id"]) for each in oracle.info(folder).get("snapshots", [])
    ]


def judged(folder, place, history, draw, old, new, *, whole):
    """Every state opens, has leaks at most, which can be cleaned, and its disk is old or new: `whole` or by sectors."""
    names = [name for name in ("x", "d") if (folder / name).exists()]
    count = 0
    for cut in history.cuts(draw, MOST):
        for name, disk in zip(names, cut.files, strict=True):
            store(disk, str(place / name))
        told = f"{cut}, seed {SEED}"
        code, corruptions, leaks, text = oracle.check(place)
        assert code in (0, 3) and not corruptions, (told, text)
        disk, snapshots = seen(place)
        assert snapshots == old[1], told
        if whole:
            assert disk in (old[0], new[0]), told
        else:
            for at in range(0, len(disk), SECTOR):
                sector = disk[at : at + SECTOR]
                assert sector in (old[0][at : at + SECTOR], new[0][at : at + SECTOR]), (told, at)
        if leaks:
            repair(str(place / "x"), "leaks", format="qcow2", settings=updating.settings(False))
            oracle.assert_clean(place)
            assert seen(place) == (disk, snapshots), told
        count += 1
    assert count > 3


def prepared(folder, place):
    place.mkdir()
    os.link(folder / "base", place / "base")


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("compress", [False, True], ids=["plain", "compressed"])
def test_a_power_cut_in_an_update_leaves_old_or_new_content_and_leaks_at_most(tmp_path, shape, compress):
    if compress and shape == "data file":
        pytest.skip("an image with a data file has no compressed clusters")
    draw = random.Random(f"{SEED}{shape}{compress}")
    size = made(tmp_path, shape, draw)
    old = seen(tmp_path)
    model = bytearray(old[0])
    paths = [str(tmp_path / name) for name in ("x", "d") if (tmp_path / name).exists()]
    with Recorder(paths) as record:
        updating.update(tmp_path / "x", model, updating.drawn(draw, size, 8), compress=compress)
    record.verify()
    new = seen(tmp_path)
    assert new == (bytes(model), old[1])
    oracle.assert_clean(tmp_path)
    prepared(tmp_path, tmp_path / "cut")
    judged(tmp_path, tmp_path / "cut", History(record.base, record.steps), draw, old, new, whole=False)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_power_cut_while_an_image_is_emptied_leaves_all_or_nothing_of_it(tmp_path, shape):
    draw = random.Random(f"{SEED}{shape}")
    made(tmp_path, shape, draw)
    old = seen(tmp_path)
    paths = [str(tmp_path / name) for name in ("x", "d") if (tmp_path / name).exists()]
    with Recorder(paths) as record:
        updating.empty(tmp_path / "x")
    record.verify()
    new = seen(tmp_path)
    assert new == ((tmp_path / "base").read_bytes(), old[1])
    oracle.assert_clean(tmp_path)
    prepared(tmp_path, tmp_path / "cut")
    judged(tmp_path, tmp_path / "cut", History(record.base, record.steps), draw, old, new, whole=True)


def test_the_refcount_table_may_be_cut_off_in_the_middle_of_its_move(tmp_path):
    oracle.img(tmp_path, "create", "-q", "-f", "qcow2", "-o", "cluster_size=512,refcount_bits=64", "x", "4M")
    model = bytearray(4 * MIB)
    draw = random.Random(SEED)
    updating.update(tmp_path / "x", model, [updating.Write(0, updating.noise(draw, MIB + 700 * KIB))])
    before = (tmp_path / "x").read_bytes()[48:60]
    old = seen(tmp_path)
    with Recorder([str(tmp_path / "x")]) as record:
        updating.update(tmp_path / "x", model, [updating.Write(MIB, updating.noise(draw, 2 * MIB))])
    assert (tmp_path / "x").read_bytes()[48:60] != before
    (tmp_path / "cut").mkdir()
    history = History(record.base, record.steps)
    judged(tmp_path, tmp_path / "cut", history, draw, old, seen(tmp_path), whole=False)


def test_a_bitmap_never_says_less_than_was_written(tmp_path):
    if not bitmaps.QEMU_NBD:
        pytest.skip("qemu-nbd is not installed")
    draw = random.Random(SEED)
    size = made(tmp_path, "small clusters", draw)
    old = oracle.content(tmp_path)
    model = bytearray(old)
    was = {at for start, length in bitmaps.dirty(tmp_path / "x", "b") for at in range(start, start + length, SECTOR)}
    with Recorder([str(tmp_path / "x")]) as record:
        updating.update(tmp_path / "x", model, updating.drawn(draw, size, 5))
    prepared(tmp_path, tmp_path / "cut")
    for cut in History(record.base, record.steps).cuts(draw, MOST // 3):
        store(cut.files[0], str(tmp_path / "cut" / "x"))
        disk = oracle.content(tmp_path / "cut")
        now = bitmaps.dirty(tmp_path / "cut" / "x", "b")
        said = {at for start, length in now for at in range(start, start + length, SECTOR)}
        changed = {at for at in range(0, size, SECTOR) if disk[at : at + SECTOR] != old[at : at + SECTOR]}
        assert was <= said and changed <= said, str(cut)
        listed = json.loads(oracle.img(tmp_path / "cut", "info", "--output=json", "x"))
        assert listed["format-specific"]["data"]["bitmaps"][0]["flags"] == ["auto"]


def test_nothing_but_whole_sectors_or_single_entries_makes_the_empty_state_current(tmp_path):
    draw = random.Random(SEED)
    made(tmp_path, "plain", draw)
    with Recorder([str(tmp_path / "x")]) as record:
        updating.empty(tmp_path / "x")
    heads = [step for step in record.steps if step.what == "write" and step.offset < SECTOR]
    assert heads and all(step.offset + len(step.data) <= SECTOR for step in heads)
    assert subprocess.run([oracle.QEMU_IMG, "check", tmp_path / "x"], capture_output=True, check=False).returncode == 0
