"""Internal snapshots created and deleted in place, judged by qemu-img, also after a stop at any point."""

from __future__ import annotations

import random
import shutil

import pytest
from instar_qcow2.write import write

from instar_core.errors import ErrorKind, FormatError
from instar_core.testing.beside import beside
from instar_core.types import Barrier, Put, SnapshotEdit, Truncate

load = beside(__file__)
executor, oracle = load("qcow2_executor"), load("qcow2_oracle")
pytestmark = [oracle.needs_qemu_io, pytest.mark.oracle]

TIME = 1_700_000_000_123_456_789
SECTOR = 512

IMAGES = {
    "default": "cluster_size=64k",
    "512": "cluster_size=512",
    "512-v2": "cluster_size=512,compat=0.10",
    "4k-refcount-4": "cluster_size=4k,refcount_bits=4",
    "4k-refcount-64": "cluster_size=4k,refcount_bits=64",
    "extended": "cluster_size=16k,extended_l2=on",
    "lazy": "cluster_size=4k,lazy_refcounts=on",
    "preallocated": "cluster_size=512,preallocation=metadata",
}


def image(folder, options, *, snapshot=True, compressed=True):
    oracle.img(folder, "create", "-q", "-f", "qcow2", "-o", options, "x", "1M")
    if compressed:
        cluster = oracle.info(folder)["cluster-size"]
        if "preallocation" not in options:
            at = -(-300_000 // cluster) * cluster
            oracle.io(folder, *(f"write -c -P {5 + n} {at + n * cluster} {cluster}" for n in range(3)))
    oracle.io(folder, "write -P 1 0 200k", "write -P 2 700k 100k", "write -z 64k 64k")
    if snapshot:
        oracle.img(folder, "snapshot", "-c", "first", "x")
        oracle.io(folder, "write -P 3 100k 100k", "discard 700k 50k")


def edits(folder, action, name):
    files = executor.Files(folder / "x")
    try:
        return list(write(files.image(), SnapshotEdit(action, name, TIME), ()))
    finally:
        files.close()


def change(folder, action, name):
    planned = edits(folder, action, name)
    files = executor.Files(folder / "x")
    try:
        for edit in planned:
            files.apply(edit)
    finally:
        files.close()
    return planned


@pytest.mark.parametrize("name", IMAGES)
def test_creating_and_deleting_snapshots_changes_no_content_and_leaks_nothing(tmp_path, name):
    image(tmp_path, IMAGES[name])
    before = oracle.contents(tmp_path)
    change(tmp_path, "create", "second")
    oracle.assert_clean(tmp_path)
    assert oracle.contents(tmp_path) == {**before, "2": before[""]}
    oracle.io(tmp_path, "write -P 9 10k 600k")
    now = oracle.contents(tmp_path)
    assert (now["1"], now["2"]) == (before["1"], before[""])
    change(tmp_path, "delete", "first")
    oracle.assert_clean(tmp_path)
    del now["1"]
    assert oracle.contents(tmp_path) == now
    change(tmp_path, "delete", "second")
    oracle.assert_clean(tmp_path)
    assert oracle.contents(tmp_path) == {"": now[""]}
    oracle.io(tmp_path, "write -P 8 0 1M")
    oracle.assert_clean(tmp_path)


def test_a_snapshot_says_of_itself_what_qemu_imgs_does(tmp_path):
    image(tmp_path, "compat=1.1")
    shutil.copy(tmp_path / "x", tmp_path / "q")
    change(tmp_path, "create", "second")
    oracle.img(tmp_path, "snapshot", "-c", "second", "q")
    ours, theirs = (oracle.info(tmp_path, name)["snapshots"] for name in "xq")
    assert ours[0] == theirs[0]
    assert {**theirs[1], "date-sec": 1_700_000_000, "date-nsec": 123_456_789} == ours[1]


def test_a_new_id_is_one_more_than_the_largest_and_deleting_takes_the_first_of_that_name(tmp_path):
    image(tmp_path, "compat=1.1")
    for name in ("same", "other", "same", "1"):
        change(tmp_path, "create", name)
    change(tmp_path, "delete", "same")
    found = [(snapshot["id"], snapshot["name"]) for snapshot in oracle.info(tmp_path)["snapshots"]]
    assert found == [("1", "first"), ("3", "other"), ("4", "same"), ("5", "1")]
    change(tmp_path, "delete", "1")
    assert [snapshot["id"] for snapshot in oracle.info(tmp_path)["snapshots"]] == ["1", "3", "4"]


def test_a_name_is_cut_at_255_bytes(tmp_path):
    image(tmp_path, "compat=1.1", snapshot=False)
    change(tmp_path, "create", "n" * 300)
    oracle.assert_clean(tmp_path)
    assert oracle.info(tmp_path)["snapshots"][0]["name"] == "n" * 255


def test_deleting_what_is_not_there_fails_with_qemus_words(tmp_path):
    image(tmp_path, "compat=1.1")
    with pytest.raises(FormatError) as caught:
        edits(tmp_path, "delete", "none")
    done = oracle.run(tmp_path, oracle.QEMU_IMG, "snapshot", "-d", "none", "x")
    assert f"qemu-img: Could not delete snapshot 'none': {caught.value}" == done.stderr.strip()
    assert caught.value.kind == ErrorKind.MISSING


def test_a_refcount_that_cannot_grow_is_refused_with_qemus_words(tmp_path):
    image(tmp_path, "refcount_bits=1", snapshot=False)
    with pytest.raises(FormatError) as caught:
        edits(tmp_path, "create", "one")
    done = oracle.run(tmp_path, oracle.QEMU_IMG, "snapshot", "-c", "one", "x")
    assert f"qemu-img: Could not create snapshot 'one': {caught.value}" in done.stderr


def test_an_image_with_a_data_file_is_refused_with_qemus_words(tmp_path):
    image(tmp_path, "data_file=d.raw", snapshot=False, compressed=False)
    with pytest.raises(FormatError) as caught:
        edits(tmp_path, "create", "one")
    done = oracle.run(tmp_path, oracle.QEMU_IMG, "snapshot", "-c", "one", "x")
    assert f"qemu-img: Could not create snapshot 'one': {caught.value}" == done.stderr.strip()


@pytest.mark.parametrize(("bit", "words"), [(0, "not closed cleanly"), (1, "Image is corrupt")])
def test_a_dirty_or_corrupt_image_is_refused(tmp_path, bit, words):
    image(tmp_path, "compat=1.1", snapshot=False)
    with (tmp_path / "x").open("r+b") as file:
        file.seek(79)
        file.write(bytes((1 << bit,)))
    with pytest.raises(FormatError, match=words):
        edits(tmp_path, "create", "one")


def test_a_cluster_in_use_whose_refcount_is_0_is_refused(tmp_path):
    image(tmp_path, "cluster_size=64k", snapshot=False, compressed=False)
    with (tmp_path / "x").open("r+b") as file:
        file.seek(2 * 65536 + 2 * 5)
        file.write(bytes(2))
    with pytest.raises(FormatError, match="refcount is 0") as caught:
        edits(tmp_path, "create", "one")
    assert caught.value.kind == ErrorKind.CORRUPT


def test_bitmaps_survive_a_snapshot(tmp_path):
    image(tmp_path, "compat=1.1")
    oracle.img(tmp_path, "bitmap", "--add", "x", "b0")
    facts = oracle.info(tmp_path)["format-specific"]
    change(tmp_path, "create", "second")
    change(tmp_path, "delete", "first")
    oracle.assert_clean(tmp_path)
    assert oracle.info(tmp_path)["format-specific"] == facts


def test_snapshots_made_and_deleted_again_and_again_do_not_make_the_file_grow(tmp_path):
    image(tmp_path, "cluster_size=4k")
    sizes = []
    for _ in range(6):
        change(tmp_path, "create", "again")
        change(tmp_path, "delete", "again")
        sizes.append((tmp_path / "x").stat().st_size)
    assert sizes[-1] == sizes[1]


def test_what_the_old_state_uses_is_not_written_before_the_commit(tmp_path):
    image(tmp_path, "cluster_size=4k")
    before = (tmp_path / "x").read_bytes()
    for edit in edits(tmp_path, "create", "second"):
        if isinstance(edit, Barrier):
            break
        if isinstance(edit, Put):
            assert not any(before[edit.offset : edit.offset + len(edit.data)])


def phases(planned):
    found = [[]]
    for edit in planned:
        if isinstance(edit, Barrier):
            found.append([])
        else:
            found[-1].append(edit)
    return found


def pieces(phase):
    """The phase as writes of one sector each, which a power cut may leave out one by one."""
    for edit in phase:
        if isinstance(edit, Truncate):
            yield edit
            continue
        data = edit.data if isinstance(edit, Put) else bytes(edit.length)
        at = 0
        while at < len(data):
            end = min(len(data), at + SECTOR - (edit.offset + at) % SECTOR)
            yield Put(edit.offset + at, data[at:end])
            at = end


def cuts(planned, rnd, count):
    """States a cut may leave, as lists of edits: whole phases, then any part of the next one."""
    done = []
    for phase in phases(planned):
        yield list(done)
        sectors = list(pieces(phase))
        for _ in range(count):
            kind = rnd.choice(["prefix", "edits", "sectors", "most"])
            if kind == "prefix":
                yield done + phase[: rnd.randrange(len(phase) + 1)]
            elif kind == "edits":
                yield done + [edit for edit in phase if rnd.random() < 0.5]
            else:
                likely = 0.5 if kind == "sectors" else 0.95
                yield done + [edit for edit in sectors if rnd.random() < likely]
        done += phase
    yield done


def outcome(folder, name):
    """Contents of every state; the image must open, and at most leak."""
    code, corruptions, _, text = oracle.check(folder, name)
    assert code in (0, 3) and not corruptions, text
    return oracle.contents(folder, name)


def assert_survives_cuts(folder, action, name, rnd, count):
    before = oracle.contents(folder)
    planned = edits(folder, action, name)
    seen = set()
    shutil.copy(folder / "x", folder / "start")
    change(folder, action, name)
    after = oracle.contents(folder)
    assert after != before
    for state in cuts(planned, rnd, count):
        shutil.copy(folder / "start", folder / "cut")
        files = executor.Files(folder / "cut")
        try:
            for edit in state:
                files.apply(edit)
        finally:
            files.close()
        found = outcome(folder, "cut")
        assert found in (before, after)
        seen.add(found == after)
    assert seen == {False, True}


@pytest.mark.parametrize("name", ["512", "extended", "4k-refcount-4"])
def test_a_cut_at_any_point_leaves_the_old_or_the_new_state(tmp_path, name):
    image(tmp_path, IMAGES[name])
    rnd = random.Random(name)
    assert_survives_cuts(tmp_path, "create", "second", rnd, 3)
    oracle.io(tmp_path, "write -P 9 10k 50k")
    assert_survives_cuts(tmp_path, "delete", "first", rnd, 3)


@pytest.mark.long
@pytest.mark.parametrize("name", IMAGES)
def test_many_cuts_leave_the_old_or_the_new_state(tmp_path, name):
    image(tmp_path, IMAGES[name])
    seed = random.randrange(1 << 32)
    print("seed", seed)
    rnd = random.Random(seed)
    assert_survives_cuts(tmp_path, "create", "second", rnd, 60)
    oracle.io(tmp_path, "write -P 9 10k 50k")
    assert_survives_cuts(tmp_path, "delete", "first", rnd, 60)
    assert_survives_cuts(tmp_path, "delete", "second", rnd, 60)


def test_one_write_of_one_sector_makes_the_new_state_current_and_is_the_last(tmp_path):
    image(tmp_path, "cluster_size=4k")
    found = phases(edits(tmp_path, "delete", "first"))
    assert [len(phase) for phase in found[1:]] in ([1], [1, 0])
    (commit,) = found[1]
    assert commit.offset // SECTOR == (commit.offset + len(commit.data) - 1) // SECTOR == 0
