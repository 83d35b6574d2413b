"""Dirty bitmaps changed in place: how they are stored, judged by QEMU, also after a power cut at any point."""

from __future__ import annotations

import itertools
import os
import random
import shutil

import pytest
from instar_qcow2 import layout
from instar_qcow2.bitmaps import directory_entries
from instar_qcow2.header import read_header
from instar_qcow2.info import info
from instar_qcow2.map import map_

from instar_core.bits import set_bits, set_runs
from instar_core.errors import ErrorKind, FormatError, InstarError
from instar_core.operations.bitmap import Action, bitmap
from instar_core.settings import Settings
from instar_core.source import Image, descriptor_source
from instar_core.testing.beside import beside
from instar_core.testing.crash import History
from instar_core.testing.recorder import Recorder, store
from instar_core.types import Barrier, BitmapEdit, Kind, Layer, LayerKind, Put, Run, Span

load = beside(__file__)
oracle, executor = load("qcow2_bitmap_oracle"), load("qcow2_executor")
judged = [oracle.needs_qemu, pytest.mark.oracle]
pytestmark = judged

SETTINGS = Settings(sandbox="inline")
AUTOCLEAR = 88
INCOMPATIBLE = 79


@pytest.fixture
def path(tmp_path):
    """A disk of 10 MiB."""
    return made(tmp_path / "x")


def made(path, size="10M", *options):
    oracle.img("create", "-q", "-f", "qcow2", *(["-o", ",".join(options)] if options else []), path, size)
    return path


def change(path, name, *verbs, **given):
    """The actions, a merge being written as merge=SOURCE."""
    actions = [Action(*verb.split("=")) for verb in verbs]
    bitmap(str(path), name, actions, format="qcow2", settings=SETTINGS, **given)


def reading(path, use):
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        return use(Image([descriptor_source(file.fileno(), size, size)]))


def runs(path, name, start=0, length=None):
    """(start, length) of what the plugin's map says is dirty."""

    def mapped(image):
        some = info(image).virtual_size - start if length is None else length
        found = list(map_(image, Layer(LayerKind.BITMAP, name), Span(start, some)))
        assert sum(extent.length for extent in found) == some
        assert all(one.start + one.length == two.start for one, two in itertools.pairwise(found))
        assert all(one.kind != two.kind for one, two in itertools.pairwise(found))
        return [(extent.start, extent.length) for extent in found if extent.kind == Kind.DATA]

    return reading(path, mapped)


def state(path):
    """Every bitmap with its flags and bits, by the plugin's own reading."""
    found = reading(path, info).bitmaps
    return [(each, runs(path, each.name)) for each in found if "in-use" not in each.flags]


def header(path):
    return reading(path, lambda image: read_header(image.main))


def entries(path):
    return reading(path, lambda image: list(directory_entries(image.main, read_header(image.main))))


def patched(path, offset, data):
    with open(path, "r+b") as file:
        file.seek(offset)
        file.write(data)


def in_use(path, name):
    """The bitmap as a program leaves it that dies while it uses the image."""
    found = header(path).extensions.bitmaps
    at = found.offset
    for entry in entries(path):
        if entry.name == name:
            patched(path, at + 12, (entry.flags | layout.BITMAP_IN_USE).to_bytes(4, "big"))
        at += -(-(layout.BITMAP_ENTRY.size + len(entry.name.encode())) // 8) * 8


def edited(path, request, *offered):
    """The request is asked of the plugin itself."""
    files = executor.Files(path)
    try:
        planned = list(executor.write(files.image(), request, iter(offered)))
        for edit in planned:
            files.apply(edit)
        return planned
    finally:
        files.close()


def test_the_directory_is_stored_as_qemu_stores_it(tmp_path):
    mine = made(tmp_path / "mine")
    theirs = made(tmp_path / "theirs")
    for name, granularity, verbs in (("b0", 0, ["add"]), ("été", 512, ["add", "disable"]), ("x" * 1023, 4096, ["add"])):
        change(mine, name, *verbs, granularity=granularity)
        oracle.img(
            "bitmap", *(f"--{verb}" for verb in verbs), *(["-g", granularity] if granularity else []), theirs, name
        )

    def stored(path):
        extension = header(path).extensions.bitmaps
        data = bytearray(path.read_bytes()[extension.offset : extension.offset + extension.size])
        at = 0
        while at < len(data):
            data[at : at + 8] = bytes(8)  # where the table lies
            at += -(-(24 + int.from_bytes(data[at + 18 : at + 20], "big")) // 8) * 8
        return extension.number, bytes(data)

    assert stored(mine) == stored(theirs)
    assert header(mine).autoclear_features == header(theirs).autoclear_features == layout.AUTOCLEAR_BITMAPS
    oracle.assert_clean(mine)


@pytest.mark.parametrize("cluster", ["512", "4k", "16k", "64k", "2M"])
def test_a_bitmap_without_a_wanted_granularity_has_the_one_that_qemu_gives_it(tmp_path, cluster):
    mine = made(tmp_path / "mine", "10M", f"cluster_size={cluster}")
    theirs = made(tmp_path / "theirs", "10M", f"cluster_size={cluster}")
    change(mine, "b", "add")
    oracle.img("bitmap", "--add", theirs, "b")
    assert oracle.listed(mine) == oracle.listed(theirs)
    oracle.assert_clean(mine)


def test_without_its_last_bitmap_an_image_has_no_bitmap_extension_and_no_autoclear_bit(path):
    before = header(path)
    change(path, "b", "add")
    change(path, "c", "add")
    change(path, "b", "remove")
    assert header(path).autoclear_features == layout.AUTOCLEAR_BITMAPS
    change(path, "c", "remove")
    after = header(path)
    assert after.autoclear_features == 0
    assert after.extensions == before.extensions
    assert layout.EXT_BITMAPS.to_bytes(4, "big") not in path.read_bytes()[:65536]
    oracle.assert_clean(path)


def test_bitmaps_made_and_removed_again_and_again_do_not_make_the_file_grow(path):
    sizes = []
    for _ in range(6):
        change(path, "b", "add", granularity=512)
        change(path, "b", "remove")
        sizes.append(path.stat().st_size)
    assert sizes[-1] == sizes[1]
    oracle.assert_clean(path)


def test_what_is_merged_is_dirty_whatever_the_granularities(path):
    change(path, "fine", "add", granularity=512)
    oracle.io(path, "write 1M 1k", "write 5000k 3k", "write 0 512", "write 10485248 512")
    for granularity in (512, 4096, 65536, 1 << 20, 1 << 31):
        name = f"g{granularity}"
        change(path, name, "add", "merge=fine", "disable", granularity=granularity)
        wanted = oracle.dirty(path, name)
        assert runs(path, name) == wanted
        assert wanted
        change(path, f"back{granularity}", "add", f"merge={name}", "disable", granularity=512)
        assert oracle.dirty(path, f"back{granularity}") == wanted
    oracle.assert_clean(path)


def test_merging_a_bitmap_does_not_touch_the_one_that_it_comes_from(path):
    change(path, "one", "add", granularity=512)
    oracle.io(path, "write 1M 1k")
    change(path, "two", "add", granularity=512)
    oracle.io(path, "write 2M 1k")
    before = oracle.dirty(path, "two")
    change(path, "one", "merge=two", "merge=one")
    assert oracle.dirty(path, "two") == before
    assert oracle.dirty(path, "one") == [(1 << 20, 1024), (2 << 20, 1024)]


def test_several_bitmaps_of_another_image_are_merged_at_once(tmp_path, path):
    other = made(tmp_path / "other")
    for number, name in enumerate(("one", "two", "three")):
        change(other, name, "add", granularity=512)
        oracle.io(other, f"write {number}M 64k")
        change(other, name, "disable")
    change(path, "all", "add", "merge=three", "merge=one", "disable", source=str(other), granularity=4096)
    assert oracle.dirty(path, "all") == [(0, 65536), (2 << 20, 65536)]
    assert oracle.listed(path) == [("all", 4096, ())]


def test_a_cluster_of_bits_that_are_all_set_is_stored_as_an_entry_without_a_cluster(tmp_path):
    path = made(tmp_path / "x", "64M", "cluster_size=512")
    change(path, "b", "add", granularity=512)
    covered = 512 * 8 * 512
    edited(path, BitmapEdit("merge", "b"), Run(0, 2 * covered + 512), Run(2 * covered + 1024, covered))
    (entry,) = entries(path)
    table = reading(path, lambda image: image.main.table(8, entry.table_offset, entry.table_size))
    assert list(table[:2]) == [1, 1]
    assert table[2] > 1
    assert oracle.dirty(path, "b") == [(0, 2 * covered + 512), (2 * covered + 1024, covered)]
    oracle.assert_clean(path)
    edited(path, BitmapEdit("merge", "b"), Run(2 * covered, covered))
    assert oracle.dirty(path, "b") == [(0, 3 * covered + 1024)]
    oracle.assert_clean(path)
    change(path, "b", "clear")
    assert oracle.dirty(path, "b") == []
    oracle.assert_clean(path)


def test_a_bitmap_of_a_huge_disk_is_changed_without_counting_its_granules(tmp_path):
    path = made(tmp_path / "x", "200T", "cluster_size=2M")
    change(path, "b", "add")
    edited(path, BitmapEdit("merge", "b"), Run(1 << 40, 150 << 40))
    assert runs(path, "b") == [(1 << 40, 150 << 40)]
    assert path.stat().st_blocks * 512 < 16 << 20
    oracle.assert_clean(path)


def test_a_bitmap_that_would_take_too_much_space_is_refused(tmp_path):
    path = made(tmp_path / "x", "3T")
    with pytest.raises(InstarError, match="Too much space will be occupied by the bitmap"):
        change(path, "b", "add", granularity=512)
    done = oracle.img("bitmap", "--add", "-g", 512, path, "b", check=False)
    assert "Too much space will be occupied by the bitmap. Use larger granularity" in done.stderr
    assert not oracle.listed(path)


def test_an_image_without_a_disk_gets_no_bitmap(tmp_path):
    """quirk("bitmap-of-nothing")"""
    path = made(tmp_path / "x", "0")
    before = path.read_bytes()
    with pytest.raises(InstarError, match="empty disk"):
        change(path, "b", "add")
    assert path.read_bytes() == before
    done = oracle.img("bitmap", "--add", path, "b", check=False)
    assert "Lost persistent bitmaps" in done.stderr


@pytest.mark.parametrize(("bit", "words"), [(0, "not closed cleanly"), (1, "corrupt")])
def test_the_plugin_refuses_a_dirty_or_corrupt_image(path, bit, words):
    patched(path, INCOMPATIBLE, bytes((1 << bit,)))
    with pytest.raises(FormatError, match=words):
        edited(path, BitmapEdit("add", "b"))


def test_a_version_2_image_gets_no_bitmap(tmp_path):
    path = made(tmp_path / "x", "1M", "compat=0.10")
    with pytest.raises(InstarError, match="Cannot store dirty bitmaps in qcow2 v2 files"):
        change(path, "b", "add")
    change(path, "", "remove-all")


def test_bitmaps_that_do_not_count_any_more_are_replaced(path):
    """A program that knows nothing of bitmaps has written to the image: it clears the autoclear bit."""
    change(path, "old", "add")
    patched(path, AUTOCLEAR, bytes(8))
    change(path, "new", "add")
    assert oracle.listed(path) == [("new", 65536, ("auto",))]
    oracle.img("check", "-q", "-r", "leaks", path)
    oracle.assert_clean(path)


def test_autoclear_features_that_nobody_here_knows_are_cleared(path):
    patched(path, AUTOCLEAR, (1 << 40).to_bytes(8, "big"))
    change(path, "b", "add")
    assert header(path).autoclear_features == layout.AUTOCLEAR_BITMAPS


def test_a_bitmap_in_use_can_only_be_removed(path):
    change(path, "lost", "add")
    change(path, "good", "add")
    in_use(path, "lost")
    assert oracle.listed(path)[0] == ("lost", 65536, ("in-use", "auto"))
    for request in ("clear", "enable", "disable", "merge"):
        with pytest.raises(FormatError, match="inconsistent") as caught:
            edited(path, BitmapEdit(request, "lost"))
        assert caught.value.kind == ErrorKind.CORRUPT
    with pytest.raises(FormatError, match="inconsistent"):
        runs(path, "lost")
    change(path, "good", "disable")
    assert oracle.listed(path) == [("lost", 65536, ("in-use", "auto")), ("good", 65536, ())]
    change(path, "lost", "remove")
    assert oracle.listed(path) == [("good", 65536, ())]
    oracle.assert_clean(path)


def test_a_bitmap_whose_table_is_damaged_can_still_be_removed_if_nobody_uses_it(path):
    change(path, "lost", "add")
    change(path, "good", "add")
    patched(path, entries(path)[0].table_offset, (0x4242).to_bytes(8, "big"))
    in_use(path, "lost")
    change(path, "lost", "remove")
    assert oracle.listed(path) == [("good", 65536, ("auto",))]
    oracle.assert_clean(path)


def test_a_request_of_several_actions_is_one_change(path):
    change(path, "b", "add", granularity=512)
    oracle.io(path, "write 1M 1k")
    planned = edited(path, BitmapEdit("clear", "b", 0, 0, ("merge", "disable")), Run(4096, 100))
    first, second = [at for at, edit in enumerate(planned) if isinstance(edit, Barrier)][:2]
    (commit,) = planned[first + 1 : second]
    assert commit.offset // 512 == (commit.offset + len(commit.data) - 1) // 512
    assert not any(isinstance(edit, Put) and edit.offset >= 4096 for edit in planned[second:])
    assert oracle.listed(path) == [("b", 512, ())]
    assert oracle.dirty(path, "b") == [(4096, 512)]
    edited(path, BitmapEdit("remove", "b", 0, 0, ("add", "remove")))
    assert oracle.listed(path) == []
    edited(path, BitmapEdit("add", "b", 0, 0, ("merge", "remove")), Run(0, 1))
    assert oracle.listed(path) == []
    oracle.assert_clean(path)


def test_what_changes_nothing_writes_nothing(path):
    change(path, "b", "add")
    for action in ("enable", "clear"):
        assert edited(path, BitmapEdit(action, "b")) == []
    assert edited(path, BitmapEdit("merge", "b")) == []
    assert edited(path, BitmapEdit("remove", "b", 0, 0, ("add",))) != []


@pytest.mark.parametrize("window", [(0, 512), (512, 1024), (1 << 20, 3 << 20), (5_000_000 // 512 * 512, 700 * 512)])
def test_a_window_of_a_bitmap_is_cut_out_of_the_whole(path, window):
    change(path, "b", "add", granularity=512)
    oracle.io(path, "write 1M 1k", "write 1030k 512", "write 4M 1M", "write 0 512")
    low, high = window[0], sum(window)
    cut = [(max(low, at), min(high, at + some)) for at, some in runs(path, "b") if at < high and at + some > low]
    assert runs(path, "b", *window) == [(at, end - at) for at, end in cut]


def test_the_bitmaps_of_an_image_with_a_data_file_are_changed_and_its_content_stays(tmp_path):
    path = tmp_path / "x"
    words = f"data_file={tmp_path / 'data'},data_file_raw=on"
    oracle.img("create", "-q", "-f", "qcow2", "-o", words, path, "4M")
    oracle.io(path, "write -P 7 1M 1M")
    before = (tmp_path / "data").read_bytes()
    change(path, "b", "add")
    oracle.io(path, "write -P 7 1M 1M")
    assert oracle.dirty(path, "b") == [(1 << 20, 1 << 20)]
    change(path, "b", "disable")
    assert (tmp_path / "data").read_bytes() == before
    assert header(path).autoclear_features == layout.AUTOCLEAR_BITMAPS | layout.AUTOCLEAR_DATA_FILE_RAW
    oracle.assert_clean(path)


def test_snapshots_and_compressed_clusters_are_not_touched(tmp_path):
    path = made(tmp_path / "x", "4M", "cluster_size=4k", "refcount_bits=8")
    oracle.io(path, *(f"write -c -P {5 + n} {n * 4096} 4096" for n in range(9)), "write -P 1 1M 1M")
    oracle.img("snapshot", "-c", "s", path)
    oracle.io(path, "write -P 2 1M 100k")
    shutil.copy(path, tmp_path / "before")
    change(path, "b", "add", granularity=512)
    oracle.io(path, "write -P 2 1M 100k")
    change(path, "c", "add", "merge=b", granularity=4096)
    change(path, "b", "remove")
    oracle.assert_clean(path)
    assert oracle.img("compare", path, tmp_path / "before").returncode == 0
    change(path, "", "remove-all")
    oracle.img("snapshot", "-a", "s", path)
    oracle.img("snapshot", "-a", "s", tmp_path / "before")
    assert oracle.img("compare", path, tmp_path / "before").returncode == 0


def test_runs_of_bits_are_found_and_set_wherever_they_lie():
    rnd = random.Random(5)
    for _ in range(300):
        data = bytearray(rnd.choice((8, 64, 512)))
        wanted = set()
        for _ in range(rnd.randrange(6)):
            first = rnd.randrange(8 * len(data))
            end = rnd.randint(first, 8 * len(data))
            set_bits(data, first, end) if end > first else None
            wanted.update(range(first, end))
        found = [bit for first, count in set_runs(bytes(data)) for bit in range(first, first + count)]
        assert found == sorted(wanted)


CUTS = int(os.environ.get("INSTAR_BITMAP_CUTS", "25"))
CHANGES = {
    "add": ("new", ["add"], "cluster_size=4k"),
    "add-merge-disable": ("new", ["add", "merge=fine", "disable"], "cluster_size=512"),
    "merge": ("coarse", ["merge=fine"], "cluster_size=512,refcount_bits=1"),
    "merge-fine": ("fine", ["merge=coarse"], "cluster_size=4k,refcount_bits=64"),
    "clear": ("fine", ["clear"], "cluster_size=1k"),
    "disable": ("fine", ["disable"], "cluster_size=64k"),
    "remove": ("fine", ["remove"], "cluster_size=512"),
    "remove-all": ("", ["remove-all"], "cluster_size=4k"),
    "replace": ("fine", ["remove", "add", "merge=coarse"], "cluster_size=16k,extended_l2=on"),
}


@pytest.mark.parametrize("case", CHANGES)
def test_a_power_cut_at_any_point_leaves_the_old_or_the_new_bitmaps(tmp_path, case):
    name, verbs, options = CHANGES[case]
    path = made(tmp_path / "x", "3M", options)
    change(path, "fine", "add", granularity=512)
    oracle.io(path, "write -P 1 100k 3k", "write -P 2 1M 200k", "write -P 3 3000k 1k")
    change(path, "coarse", "add", granularity=65536)
    oracle.io(path, "write -P 4 2M 1k")
    shutil.copy(path, tmp_path / "start")
    before = state(path)
    with Recorder([str(path)]) as record:
        change(path, name, *verbs)
    record.verify()
    after = state(path)
    assert after != before
    seen = set()
    cut_path = str(tmp_path / "cut")
    for cut in History(record.base, record.steps).cuts(random.Random(case), CUTS):
        store(cut.files[0], cut_path)
        done = oracle.img("check", "-f", "qcow2", cut_path, check=False)
        assert done.returncode in (0, 3), (str(cut), done.stdout, done.stderr)
        found = state(cut_path)
        assert found in (before, after), str(cut)
        assert oracle.img("compare", cut_path, tmp_path / "start").returncode == 0
        seen.add(found == after)
    assert seen == {False, True}
