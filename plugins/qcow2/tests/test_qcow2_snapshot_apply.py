"""Going back to internal snapshots in place, judged by qemu-img doing the same, also after a stop at any point."""

from __future__ import annotations

import random
import shutil
import time

import pytest

from instar_core.errors import ErrorKind, FormatError, InstarError
from instar_core.operations import snapshot as operation
from instar_core.settings import Settings
from instar_core.testing.beside import beside
from instar_core.types import Barrier, SnapshotEdit

INLINE = Settings(sandbox="inline")


load = beside(__file__)
executor, oracle = load("qcow2_executor"), load("qcow2_oracle")
pytestmark = [oracle.needs_qemu_io, pytest.mark.oracle]
FLAGS = {"create": "-c", "delete": "-d", "apply": "-a"}
IMAGES = {
    "default": "cluster_size=64k",
    "512": "cluster_size=512",
    "512-v2": "cluster_size=512,compat=0.10",
    "4k-refcount-2": "cluster_size=4k,refcount_bits=2",
    "4k-refcount-64": "cluster_size=4k,refcount_bits=64",
    "extended": "cluster_size=16k,extended_l2=on",
    "lazy": "cluster_size=4k,lazy_refcounts=on",
}


def image(folder, options="cluster_size=64k", size="1M"):
    oracle.img(folder, "create", "-q", "-f", "qcow2", "-o", options, "x", size)
    oracle.io(folder, "write -P 1 0 200k", "write -P 2 700k 100k", "write -z 64k 64k")
    if "extended" not in options:
        oracle.io(folder, f"write -c -P 5 512k {oracle.info(folder)['cluster-size']}")
    oracle.img(folder, "snapshot", "-c", "first", "x")
    oracle.io(folder, "write -P 3 100k 100k", "discard 700k 50k")


def edits(folder, action, name, file="x"):
    return executor.planned(folder / file, SnapshotEdit(action, name, time.time_ns()))


def perform(folder, planned, file="x"):
    executor.carry_out(folder / file, planned)


def change(folder, action, name):
    """The action on x by instar, and on its twin q by qemu-img: both refuse in the same words, or neither does."""
    if not (folder / "q").exists():
        shutil.copy(folder / "x", folder / "q")
    done = oracle.run(folder, oracle.QEMU_IMG, "snapshot", FLAGS[action], name, "q")
    try:
        perform(folder, edits(folder, action, name))
    except FormatError as error:
        assert f"qemu-img: Could not {action} snapshot '{name}': {error}\n" == done.stderr
        oracle.run(folder, oracle.QEMU_IMG, "check", "-r", "leaks", "q")
    else:
        assert done.returncode == 0
    oracle.assert_clean(folder)


def assert_alike(folder):
    ours, theirs = oracle.info(folder), oracle.info(folder, "q")
    dates = ("date-sec", "date-nsec")
    for one in (*ours.get("snapshots", ()), *theirs.get("snapshots", ())):
        for key in dates:
            one.pop(key)
    assert ours.get("snapshots") == theirs.get("snapshots")
    assert ours["virtual-size"] == theirs["virtual-size"]
    assert oracle.contents(folder) == oracle.contents(folder, "q")


@pytest.mark.parametrize("name", IMAGES)
def test_applying_a_snapshot_brings_its_content_back_and_leaks_nothing(tmp_path, name):
    image(tmp_path, IMAGES[name])
    before = oracle.contents(tmp_path)
    change(tmp_path, "apply", "first")
    assert oracle.contents(tmp_path) == {"": before["1"], "1": before["1"]}
    assert_alike(tmp_path)
    oracle.io(tmp_path, "write -P 9 10k 600k")
    oracle.assert_clean(tmp_path)
    assert oracle.contents(tmp_path)["1"] == before["1"]
    change(tmp_path, "delete", "first")


def test_an_id_is_looked_for_before_a_name(tmp_path):
    image(tmp_path)
    change(tmp_path, "create", "1")
    oracle.io(tmp_path, "write -P 7 0 1M")
    shutil.copy(tmp_path / "x", tmp_path / "q")
    before = oracle.contents(tmp_path)
    change(tmp_path, "apply", "1")
    assert oracle.contents(tmp_path)[""] == before["1"]
    assert_alike(tmp_path)
    change(tmp_path, "apply", "2")
    assert oracle.contents(tmp_path)[""] == before["2"]


@pytest.mark.parametrize("size", ["512k", "4M", "1537k"])
def test_the_disk_has_the_size_that_it_had(tmp_path, size):
    """The last snapshot's size differs from the disk's."""
    image(tmp_path, "cluster_size=512")
    oracle.img(tmp_path, "resize", "--shrink", "-q", "x", size)
    oracle.io(tmp_path, "write -P 6 300k 100k")
    change(tmp_path, "create", "second")
    shutil.copy(tmp_path / "x", tmp_path / "q")
    for name in ("first", "second", "first"):
        change(tmp_path, "apply", name)
        assert_alike(tmp_path)
    assert oracle.info(tmp_path)["virtual-size"] == 1 << 20


@pytest.mark.parametrize("action", ["apply", "delete"])
def test_what_is_not_there_is_refused_with_qemus_words(tmp_path, action):
    image(tmp_path)
    change(tmp_path, action, "none")
    with pytest.raises(FormatError) as caught:
        edits(tmp_path, action, "none")
    assert caught.value.kind == ErrorKind.MISSING


def test_an_image_with_bitmaps_does_not_go_back(tmp_path):
    image(tmp_path)
    oracle.img(tmp_path, "bitmap", "--add", "x", "b0")
    change(tmp_path, "apply", "first")
    with pytest.raises(FormatError, match="active dirty bitmaps"):
        edits(tmp_path, "apply", "first")


def test_an_image_with_a_data_file_does_not_go_back(tmp_path):
    oracle.img(tmp_path, "create", "-q", "-f", "qcow2", "-o", "data_file=d.raw", "x", "1M")
    with pytest.raises(FormatError) as caught:
        edits(tmp_path, "apply", "one")
    done = oracle.run(tmp_path, oracle.QEMU_IMG, "snapshot", "-a", "one", "x")
    assert done.stderr == f"qemu-img: Could not apply snapshot 'one': {caught.value}\n"


@pytest.mark.parametrize("seed", range(3))
def test_a_random_history_goes_as_with_qemu_img(tmp_path, seed):
    rnd = random.Random(seed)
    image(tmp_path, IMAGES[rnd.choice(sorted(IMAGES))])
    shutil.copy(tmp_path / "x", tmp_path / "q")
    for _ in range(10):
        if rnd.random() < 0.4:
            command = f"write -P {rnd.randrange(1, 255)} {rnd.randrange(900)}k {rnd.choice([1, 4, 90])}k"
            for name in "xq":
                oracle.io(tmp_path, command, name=name)
        else:
            change(tmp_path, rnd.choice(["create", "create", "delete", "apply"]), rnd.choice(["1", "2", "first", "3"]))
    assert_alike(tmp_path)


@pytest.mark.parametrize("name", ["512", "extended"])
def test_a_cut_leaves_the_old_content_or_the_new(tmp_path, name):
    image(tmp_path, IMAGES[name])
    before = oracle.contents(tmp_path)
    after = {"": before["1"], "1": before["1"]}
    planned = edits(tmp_path, "apply", "first")
    shutil.copy(tmp_path / "x", tmp_path / "start")
    rnd, done, seen = random.Random(name), [], set()
    phases = [[]]
    for edit in planned:
        phases.append([]) if isinstance(edit, Barrier) else phases[-1].append(edit)
    for phase in phases:
        for _ in range(6):
            shutil.copy(tmp_path / "start", tmp_path / "cut")
            perform(tmp_path, done + [edit for edit in phase if rnd.random() < 0.6], "cut")
            code, corruptions, _, text = oracle.check(tmp_path, "cut")
            assert code in (0, 3), text
            assert not corruptions
            found = oracle.contents(tmp_path, "cut")
            assert found in (before, after)
            seen.add(found == after)
        done += phase
    assert seen == {False, True}


def test_machine_state_stays_with_its_snapshot(tmp_path):
    """A snapshot whose L1 table reaches past the end of the disk, where qemu keeps the machine's state."""
    image(tmp_path, "cluster_size=512")
    oracle.img(tmp_path, "resize", "-q", "x", "8M")
    oracle.io(tmp_path, "write -P 8 6M 64k")
    oracle.img(tmp_path, "snapshot", "-c", "state", "x")
    data = bytearray((tmp_path / "x").read_bytes())
    table = int.from_bytes(data[64:72], "big")
    while True:
        id_size, name_size = (int.from_bytes(data[table + at : table + at + 2], "big") for at in (12, 14))
        extra = int.from_bytes(data[table + 36 : table + 40], "big")
        name = data[table + 40 + extra + id_size :][:name_size]
        if name == b"state":
            break
        table += (40 + extra + id_size + name_size + 7) & ~7
    data[table + 40 : table + 56] = (65536).to_bytes(8, "big") + (1 << 20).to_bytes(8, "big")
    (tmp_path / "x").write_bytes(data)
    oracle.assert_clean(tmp_path)
    perform(tmp_path, edits(tmp_path, "apply", "state"))
    oracle.assert_clean(tmp_path)
    assert oracle.info(tmp_path)["virtual-size"] == 1 << 20
    assert oracle.info(tmp_path)["snapshots"][-1]["vm-state-size"] == 65536


@pytest.mark.parametrize(
    ("action", "words"),
    [
        (operation.create, "Could not create snapshot 's': Operation not supported"),
        (operation.delete, "Could not delete snapshot 's': snapshot not found"),
        (operation.apply, "Could not apply snapshot 's': Block driver does not support snapshots"),
    ],
)
def test_a_format_without_snapshots_is_refused_with_qemus_words(tmp_path, action, words):
    (tmp_path / "x").write_bytes(bytes(65536))
    with pytest.raises(InstarError) as caught:
        action(str(tmp_path / "x"), "s", format="raw", settings=INLINE)
    assert str(caught.value) == words
    flag = {"create": "-c", "delete": "-d", "apply": "-a"}[action.__name__]
    done = oracle.run(tmp_path, oracle.QEMU_IMG, "snapshot", "-f", "raw", flag, "s", "x")
    assert done.stderr == f"qemu-img: {words}\n"


def test_an_overlay_whose_backing_file_is_gone_is_not_changed(tmp_path):
    image(tmp_path)
    oracle.img(tmp_path, "create", "-q", "-f", "qcow2", "-b", "x", "-F", "qcow2", "top")
    (tmp_path / "x").rename(tmp_path / "gone")
    before = (tmp_path / "top").read_bytes()
    with pytest.raises(InstarError, match="Could not open backing file"):
        operation.create(str(tmp_path / "top"), "s", settings=INLINE)
    assert (tmp_path / "top").read_bytes() == before


def test_hundreds_of_snapshots_are_no_matter(tmp_path):
    """The file goes through 300 of them: made by one program, and taken away by the other in any order."""
    oracle.img(tmp_path, "create", "-q", "-f", "qcow2", "-o", "cluster_size=4k", "x", "1M")
    oracle.io(tmp_path, "write -P 1 0 64k")
    for number in range(300):
        perform(tmp_path, edits(tmp_path, "create", f"s{number}"))
    oracle.assert_clean(tmp_path)
    assert len(oracle.info(tmp_path)["snapshots"]) == 300
    perform(tmp_path, edits(tmp_path, "apply", "s150"))
    perform(tmp_path, edits(tmp_path, "delete", "s150"))
    oracle.assert_clean(tmp_path)


def test_the_second_cluster_of_the_file_after_an_empty_entry_counts(tmp_path):
    """An entry of 0 and then one of the first cluster size look like the beginning of a row of clusters."""
    oracle.img(tmp_path, "create", "-q", "-f", "qcow2", "-o", "cluster_size=4k", "x", "1M")
    oracle.io(tmp_path, "write -P 1 16k 4k")
    data = bytearray((tmp_path / "x").read_bytes())
    table = int.from_bytes(data[48:56], "big")
    assert table == 4096
    end = len(data)
    data += data[table : table + 4096]  # the refcount table moves to the end, and the data to its place
    data[48:56] = end.to_bytes(8, "big")
    l1 = int.from_bytes(data[40:48], "big")
    l2 = int.from_bytes(data[l1 : l1 + 8], "big") & 0x00FFFFFFFFFFFE00
    place = int.from_bytes(data[l2 + 32 : l2 + 40], "big") & 0x00FFFFFFFFFFFE00
    data[4096:8192] = data[place : place + 4096]
    data[l2 + 32 : l2 + 40] = (1 << 63 | 4096).to_bytes(8, "big")
    (tmp_path / "x").write_bytes(data)
    oracle.run(tmp_path, oracle.QEMU_IMG, "check", "-q", "-r", "all", "x")
    oracle.assert_clean(tmp_path)
    for action, name in (("create", "a"), ("create", "b"), ("delete", "a"), ("apply", "b"), ("delete", "b")):
        perform(tmp_path, edits(tmp_path, action, name))
        oracle.assert_clean(tmp_path)
        assert oracle.content(tmp_path)[16384:20480] == bytes([1]) * 4096
