"""Broken images mended in place, judged by qemu-img: what it says of them then, and what they hold."""

from __future__ import annotations

import random
import shutil

import pytest

from instar_core.errors import FormatError
from instar_core.operations import repair as operation
from instar_core.operations import snapshot as snapshots
from instar_core.operations.check import check
from instar_core.settings import Settings
from instar_core.testing.beside import beside
from instar_core.types import Barrier, Capability

INLINE = Settings(sandbox="inline")


load = beside(__file__)
executor, oracle, damage = load("qcow2_executor"), load("qcow2_oracle"), load("qcow2_damage")
pytestmark = [oracle.needs_qemu_io, pytest.mark.oracle]
COPIED = damage.COPIED
FAR = 1 << 40


def image(folder, options="cluster_size=64k", *, snapshots=3):
    oracle.img(folder, "create", "-q", "-f", "qcow2", "-o", options, "x", "1M")
    oracle.io(folder, "write -P 1 0 200k", "write -P 2 700k 100k")
    for number in range(snapshots):
        oracle.img(folder, "snapshot", "-c", f"s{number}", "x")
        oracle.io(folder, f"write -P {10 + number} 100k 20k")
    return damage.Places(folder / "x")


def repaired_as_qemu_does(folder, mode="all"):
    """Repairs x by instar and a copy, q, by qemu-img: what both say must be the same."""
    shutil.copy(folder / "x", folder / "q")
    said = damage.lines(executor, folder / "x", mode)
    damage.repair(executor, folder / "x", mode)
    done = oracle.run(folder, oracle.QEMU_IMG, "check", "-r", mode, "q")
    assert done.stderr.splitlines()[: len(said)] == said


REFCOUNTS = {
    "a refcount too high": lambda p: p.poke((p.block + 2 * 5, b"\0\7")),
    "a refcount too low": lambda p: p.poke((p.block + 2 * 7, b"\0\1")),
    "a refcount of 0": lambda p: p.poke((p.block + 2 * 5, b"\0\0")),
    "a leaked cluster": lambda p: p.poke((p.block + 2 * (len(p.data) // p.cluster - 1), b"\0\1")),
    "no refcount block": lambda p: p.poke((p.table, 0)),
    "a refcount block named twice": lambda p: p.poke((p.table + 8, p.block)),
    "no refcount table": lambda p: p.poke((56, bytes(4))),
    "the refcount table past the end": lambda p: p.poke((48, FAR)),
    "a cluster named twice": lambda p: p.poke((p.l2, p.word(p.l2 + 8))),
    "data in a refcount block": lambda p: p.poke((p.l2, p.block | COPIED)),
    "a COPIED flag that is wrong": lambda p: p.poke((p.l2, p.word(p.l2) ^ COPIED), (p.l1, p.word(p.l1) ^ COPIED)),
    "an unaligned place of zeros": lambda p: p.poke((p.l2, 0x50201 | COPIED)),
}


@pytest.mark.parametrize("name", REFCOUNTS)
def test_what_qemu_img_mends_is_mended_with_its_words_and_no_content_changes(tmp_path, name):
    places = image(tmp_path)
    REFCOUNTS[name](places)
    readable = "refcount table" not in name and "unaligned" not in name
    before = oracle.contents(tmp_path) if readable else None
    repaired_as_qemu_does(tmp_path)
    oracle.assert_clean(tmp_path)
    oracle.assert_clean(tmp_path, "q")
    if readable:
        assert oracle.contents(tmp_path) == before
    else:
        assert oracle.contents(tmp_path) == oracle.contents(tmp_path, "q")


MORE = {
    "an L2 table past the end": lambda p: p.poke((p.l1, FAR | COPIED)),
    "data past the end": lambda p: p.poke((p.l2, FAR | COPIED)),
    "reserved bits in an L1 entry": lambda p: p.poke((p.l1, p.word(p.l1) | 1 << 60 | 7)),
    "reserved bits in an L2 entry": lambda p: p.poke((p.l2, p.word(p.l2) | 1 << 60 | 4)),
    "reserved bits in the refcount table": lambda p: p.poke((p.table, p.word(p.table) | 4)),
    "a refcount block that is not aligned": lambda p: p.poke((p.table, p.block + 512)),
    "a refcount block past the end": lambda p: p.poke((p.table, FAR)),
    "the active L1 table past the end": lambda p: p.poke((40, FAR)),
    "the L1 table of a snapshot past the end": lambda p: p.poke((p.snapshots, FAR)),
    "an L1 table that is its own L2 table": lambda p: p.poke((p.l1, p.l1 | COPIED)),
}


@pytest.mark.parametrize("name", MORE)
def test_what_qemu_img_gives_up_is_mended_too(tmp_path, name):
    """quirk("qcow2-repairs-more")"""
    places = image(tmp_path)
    MORE[name](places)
    before = oracle.contents(tmp_path)
    assert oracle.check(tmp_path)[0] != 0
    assert all(text.split(" ")[0] != "Repairing" for text in damage.lines(executor, tmp_path / "x"))
    damage.repair(executor, tmp_path / "x")
    oracle.assert_clean(tmp_path)
    assert oracle.contents(tmp_path) == before


@pytest.mark.parametrize("field", ["l1", "table", "block", "snapshots"])
def test_data_that_lies_in_metadata_gets_a_place_of_its_own(tmp_path, field):
    """quirk("qcow2-repairs-more"): qemu-img only counts both."""
    places = image(tmp_path)
    where = getattr(places, field)
    before = places.data[where : where + 16]
    places.poke((places.l2, where | COPIED))
    assert damage.repair(executor, tmp_path / "x") == 2
    oracle.assert_clean(tmp_path)
    after = damage.Places(tmp_path / "x")
    assert after.word(after.l2) & 0x00FFFFFFFFFFFE00 not in (after.l1, after.table, after.block, after.snapshots)
    assert oracle.content(tmp_path)[:16] == before
    oracle.io(tmp_path, "write -P 9 0 64k")
    oracle.assert_clean(tmp_path)


def test_what_cannot_be_read_is_not_made_zeros(tmp_path):
    places = image(tmp_path, snapshots=0)
    places.poke((places.l2, places.word(places.l2) + 512), (places.l2 + 8, 1 << 62 | FAR))
    damage.repair(executor, tmp_path / "x")
    code, corruptions, leaks, _ = oracle.check(tmp_path)
    assert (code, corruptions, leaks) == (2, 2, 0)
    after = damage.Places(tmp_path / "x")
    assert after.word(after.l2) & ~COPIED == places.word(places.l2) & ~COPIED
    assert after.word(after.l2 + 8) == 1 << 62 | FAR


SNAPSHOTS = {
    "too much extra data": lambda p: p.poke((p.snapshots + 36, b"\0\0\x20\0")),
    "too many snapshots": lambda p: p.poke((60, b"\0\1\0\4")),
    "a table past the end": lambda p: p.poke((64, FAR)),
}


@pytest.mark.parametrize("name", SNAPSHOTS)
def test_a_broken_snapshot_table_is_written_anew(tmp_path, name):
    places = image(tmp_path)
    SNAPSHOTS[name](places)
    damage.repair(executor, tmp_path / "x")
    oracle.assert_clean(tmp_path)
    assert oracle.content(tmp_path)[:65536] == bytes([1]) * 65536


def test_snapshots_without_the_extra_data_of_version_3_get_it(tmp_path):
    oracle.img(tmp_path, "create", "-q", "-f", "qcow2", "-o", "compat=0.10", "x", "1M")
    oracle.img(tmp_path, "snapshot", "-c", "s", "x")
    places = damage.Places(tmp_path / "x")
    entry = places.data[places.snapshots : places.snapshots + 100]
    short = bytes(entry[:36]) + bytes(4) + bytes(entry[64:66])
    places.poke((places.snapshots, short + bytes(58)))
    oracle.img(tmp_path, "amend", "-o", "compat=1.1", "x")
    before = oracle.info(tmp_path)["snapshots"]
    places = damage.Places(tmp_path / "x")
    places.poke((places.snapshots, short + bytes(58)))
    repaired_as_qemu_does(tmp_path)
    oracle.assert_clean(tmp_path)
    assert oracle.info(tmp_path)["snapshots"][0]["name"] == before[0]["name"]
    assert oracle.info(tmp_path)["snapshots"] == oracle.info(tmp_path, "q")["snapshots"]


def test_leaks_alone_are_freed_while_corruptions_stay(tmp_path):
    places = image(tmp_path)
    places.poke((places.block + 2 * 5, b"\0\7"), (places.block + 2 * 7, b"\0\1"))
    repaired_as_qemu_does(tmp_path, "leaks")
    ours, theirs = oracle.check(tmp_path), oracle.check(tmp_path, "q")
    assert ours[:3] == theirs[:3] == (2, 2, 0)


def test_flags_are_mended_with_the_leaks_where_nothing_else_is_wrong(tmp_path):
    places = image(tmp_path, snapshots=0)
    places.poke((places.block + 2 * 5, b"\0\2"), (places.l2, places.word(places.l2) ^ COPIED))
    repaired_as_qemu_does(tmp_path, "leaks")
    oracle.assert_clean(tmp_path)
    oracle.assert_clean(tmp_path, "q")


def test_leaks_alone_are_not_freed_where_a_used_cluster_counts_as_free(tmp_path):
    places = image(tmp_path)
    places.poke((places.block + 2 * 5, b"\0\0"))
    with pytest.raises(FormatError, match="Input/output error"):
        damage.plan(executor, tmp_path / "x", "leaks")
    done = oracle.run(tmp_path, oracle.QEMU_IMG, "check", "-r", "leaks", "x")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "qemu-img: Check failed: Input/output error"


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16, 32, 64])
def test_refcounts_of_every_width_are_mended(tmp_path, bits):
    places = image(tmp_path, f"cluster_size=4k,refcount_bits={bits}", snapshots=1 if bits > 1 else 0)
    before = oracle.contents(tmp_path)
    used = bytes(places.data[places.block : places.block + 16])
    rnd = random.Random(bits)
    for _ in range(4):
        places.poke((places.block, rnd.randbytes(16)))
        damage.repair(executor, tmp_path / "x")
        oracle.assert_clean(tmp_path)
        assert oracle.contents(tmp_path) == before
        places = damage.Places(tmp_path / "x")
    assert used


def test_compressed_neighbours_in_one_cluster_are_counted_one_by_one(tmp_path):
    oracle.img(tmp_path, "create", "-q", "-f", "qcow2", "x", "1M")
    oracle.io(tmp_path, "write -c -P 1 0 64k", "write -c -P 2 64k 64k", "write -c -P 3 128k 64k")
    places = damage.Places(tmp_path / "x")
    before = oracle.contents(tmp_path)
    shared = (places.word(places.l2) & (1 << 54) - 1) // places.cluster
    assert unpacked(places, shared) == 3
    places.poke((places.block + 2 * shared, b"\0\1"))
    repaired_as_qemu_does(tmp_path)
    oracle.assert_clean(tmp_path)
    assert unpacked(damage.Places(tmp_path / "x"), shared) == 3
    assert oracle.contents(tmp_path) == before


def unpacked(places, cluster):
    return int.from_bytes(places.data[places.block + 2 * cluster : places.block + 2 * cluster + 2], "big")


def test_subclusters_past_the_end_become_zeros_and_the_others_stay(tmp_path):
    oracle.img(tmp_path, "create", "-q", "-f", "raw", "base", "1M")
    (tmp_path / "base").write_bytes(b"\x55" * (1 << 20))
    options = "cluster_size=64k,extended_l2=on,backing_file=base,backing_fmt=raw"
    oracle.img(tmp_path, "create", "-q", "-f", "qcow2", "-o", options, "x")
    oracle.io(tmp_path, "write -P 1 0 4k", "write -z 8k 4k")
    places = damage.Places(tmp_path / "x")
    places.poke((places.l2, FAR | COPIED))
    before = oracle.contents(tmp_path)
    damage.repair(executor, tmp_path / "x")
    oracle.assert_clean(tmp_path)
    assert oracle.contents(tmp_path) == before
    assert oracle.content(tmp_path)[4096:8192] == b"\x55" * 4096


def test_data_past_the_end_is_left_where_nothing_can_say_zeros(tmp_path):
    oracle.img(tmp_path, "create", "-q", "-f", "raw", "base", "1M")
    options = "compat=0.10,backing_file=base,backing_fmt=raw"
    oracle.img(tmp_path, "create", "-q", "-f", "qcow2", "-o", options, "x")
    oracle.io(tmp_path, "write -P 1 0 64k")
    places = damage.Places(tmp_path / "x")
    places.poke((places.l2, FAR | COPIED))
    damage.repair(executor, tmp_path / "x")
    assert oracle.check(tmp_path)[:3] == (2, 1, 0)


@pytest.mark.parametrize("bit", [0, 1])
@pytest.mark.parametrize("mode", ["leaks", "all"])
def test_a_sound_image_is_no_longer_marked_as_dirty_or_corrupt(tmp_path, bit, mode):
    places = image(tmp_path)
    places.poke((72, 1 << bit))
    report = operation.repair(str(tmp_path / "x"), mode, settings=INLINE)
    assert (report.corruptions, report.leaks, report.corruptions_fixed) == (0, 0, 0)
    assert damage.Places(tmp_path / "x").word(72) == 0
    oracle.assert_clean(tmp_path)


def test_an_image_is_still_marked_as_corrupt_while_something_is_wrong(tmp_path):
    places = image(tmp_path, snapshots=0)
    places.poke((72, 2), (places.l2, places.word(places.l2) + 512))
    report = operation.repair(str(tmp_path / "x"), "all", settings=INLINE)
    assert report.corruptions == 1
    assert damage.Places(tmp_path / "x").word(72) == 2


def test_a_dirty_image_is_repaired_before_it_is_changed(tmp_path):
    places = image(tmp_path, "compat=1.1,lazy_refcounts=on", snapshots=0)
    before = oracle.content(tmp_path)
    places.poke((72, 1), (places.block + 2 * 5, b"\0\0"), (places.block + 2 * 6, b"\0\0"))
    snapshots.create(str(tmp_path / "x"), "one", settings=INLINE)
    oracle.assert_clean(tmp_path)
    assert oracle.content(tmp_path) == before
    assert oracle.content(tmp_path, snapshot="1") == before
    assert damage.Places(tmp_path / "x").word(72) == 0


def test_a_sound_image_is_not_touched(tmp_path):
    image(tmp_path)
    for mode in ("leaks", "all"):
        assert damage.plan(executor, tmp_path / "x", mode) == []


def test_bitmaps_stay_when_all_refcount_structures_are_made_anew(tmp_path):
    places = image(tmp_path)
    oracle.img(tmp_path, "bitmap", "--add", "x", "b0")
    facts = oracle.info(tmp_path)["format-specific"]
    places = damage.Places(tmp_path / "x")
    places.poke((places.table, 0))
    damage.repair(executor, tmp_path / "x")
    oracle.assert_clean(tmp_path)
    assert oracle.info(tmp_path)["format-specific"] == facts


def test_the_problems_of_a_shared_table_are_told_a_bounded_number_of_times(tmp_path):
    """quirk("qcow2-check-tells-once")"""
    oracle.img(tmp_path, "create", "-q", "-f", "qcow2", "-o", "cluster_size=4k", "x", "128M")
    oracle.io(tmp_path, "write -P 1 0 4k")
    places = damage.Places(tmp_path / "x")
    places.poke(*((places.l2 + 8 * at, FAR + at * 4096 | COPIED) for at in range(512)))
    places.poke(*((places.l1 + 8 * at, places.l2 | COPIED) for at in range(64)))
    told = damage.lines(executor, tmp_path / "x")
    done = oracle.run(tmp_path, oracle.QEMU_IMG, "check", "--output=json", "x")
    assert len(told) < 5000 < len(done.stderr.splitlines())
    report = check(str(tmp_path / "x"), settings=INLINE)
    assert report.corruptions == oracle.check(tmp_path)[1]
    damage.repair(executor, tmp_path / "x")
    oracle.assert_clean(tmp_path)


def states(edits, rnd, count):
    """States that a cut may leave: phases, then any part of the next one, torn at sectors."""
    done, phase, phases = [], [], []
    for edit in [*edits, Barrier()]:
        if isinstance(edit, Barrier):
            phases.append(phase)
            phase = []
        else:
            phase.append(edit)
    for phase in phases:
        parts = [part for edit in phase for part in torn(edit)]
        for _ in range(count):
            yield done + [part for part in parts if rnd.random() < rnd.choice([0.1, 0.5, 0.9])]
        done = done + phase
        yield list(done)


def torn(edit):
    if not hasattr(edit, "data"):
        return [edit]
    found, at = [], 0
    while at < len(edit.data):
        end = min(len(edit.data), at + 512 - (edit.offset + at) % 512)
        found.append(edit._replace(offset=edit.offset + at, data=edit.data[at:end]))
        at = end
    return found


@pytest.mark.parametrize("name", [*REFCOUNTS, *MORE])
def test_a_cut_repair_leaves_an_image_that_is_no_worse(tmp_path, name):
    places = image(tmp_path, snapshots=1)
    {**REFCOUNTS, **MORE}[name](places)
    readable = oracle.run(tmp_path, oracle.QEMU_IMG, "convert", "-O", "raw", "x", "raw").returncode == 0
    readable = readable and "its own" not in name
    before = oracle.contents(tmp_path) if readable else None
    edits = damage.plan(executor, tmp_path / "x", "all")
    shutil.copy(tmp_path / "x", tmp_path / "start")
    for state in states(edits, random.Random(name), 2):
        shutil.copy(tmp_path / "start", tmp_path / "cut")
        damage.perform(executor, tmp_path / "cut", state)
        if readable:
            assert oracle.contents(tmp_path, "cut") == before
        damage.repair(executor, tmp_path / "cut")
        oracle.assert_clean(tmp_path, "cut")
        if readable:
            assert oracle.contents(tmp_path, "cut") == before


def test_a_cut_while_leaks_are_freed_leaves_leaks_at_most(tmp_path):
    places = image(tmp_path, "cluster_size=512,refcount_bits=4", snapshots=2)
    places.poke(*((places.block + at, b"\xff") for at in range(200, 256)))
    for at in range(200, 256):
        places.data[places.block + at] = 0xFF
    before = oracle.contents(tmp_path)
    code, corruptions, leaks, _ = oracle.check(tmp_path)
    assert code == 3 or corruptions
    edits = damage.plan(executor, tmp_path / "x", "leaks")
    shutil.copy(tmp_path / "x", tmp_path / "start")
    for state in states(edits, random.Random(leaks), 6):
        shutil.copy(tmp_path / "start", tmp_path / "cut")
        damage.perform(executor, tmp_path / "cut", state)
        assert oracle.check(tmp_path, "cut")[1] <= corruptions
        assert oracle.contents(tmp_path, "cut") == before


@pytest.mark.parametrize("seed", range(3))
def test_random_damage_is_mended_without_harm_to_what_can_be_read(tmp_path, seed):
    rnd = random.Random(seed)
    for _ in range(4):
        (tmp_path / "x").unlink(missing_ok=True)
        options = rnd.choice(["cluster_size=512", "cluster_size=4k,refcount_bits=4", "cluster_size=16k,extended_l2=on"])
        places = image(tmp_path, options, snapshots=1)
        for _ in range(rnd.randrange(1, 6)):
            places.poke((places.block + rnd.randrange(places.cluster), rnd.randbytes(1)))
        before = oracle.contents(tmp_path)
        damage.repair(executor, tmp_path / "x")
        oracle.assert_clean(tmp_path)
        assert oracle.contents(tmp_path) == before


def test_the_plugin_says_that_it_can_repair():
    from instar_qcow2 import SPEC

    assert Capability.REPAIR in SPEC.capabilities


@pytest.mark.parametrize("where", ["block", "l2", "data"])
def test_where_a_refcount_cannot_say_two_each_gets_a_cluster_of_its_own(tmp_path, where):
    """quirk("qcow2-repairs-more"): qemu-img only says that the refcount overflows."""
    places = image(tmp_path, "cluster_size=512,refcount_bits=1", snapshots=0)
    value = places.word(places.l2 + 8) if where == "data" else getattr(places, where) | COPIED
    places.poke((places.l2, value))
    before = places.data[value & ~COPIED :][:512]
    content = oracle.content(tmp_path)
    damage.repair(executor, tmp_path / "x")
    oracle.assert_clean(tmp_path)
    assert oracle.content(tmp_path)[:512] == before
    assert oracle.content(tmp_path)[512:] == content[512:]
