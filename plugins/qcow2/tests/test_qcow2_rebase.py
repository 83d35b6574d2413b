"""Another backing file in the header, judged by what qemu-img says of the image, also after a stop at any point."""

from __future__ import annotations

import random

import pytest

from instar_core.errors import FormatError
from instar_core.testing.beside import beside
from instar_core.types import Rebase

load = beside(__file__)
executor, oracle, cuts = load("qcow2_executor"), load("qcow2_oracle"), load("qcow2_cuts")
pytestmark = [oracle.needs_qemu_img, pytest.mark.oracle]


def image(folder, options="cluster_size=64k", backing="old.raw"):
    for name in ("old.raw", "new.raw"):
        (folder / name).write_bytes(bytes(1 << 20))
    words = ["-b", backing, "-F", "raw"] if backing else []
    oracle.img(folder, "create", "-q", "-f", "qcow2", "-o", options, *words, "x", "1M")


def edits(folder, name, format="raw"):
    backing = None if name is None else {"name": name.encode(), "format": format}
    return executor.planned(folder / "x", Rebase(backing))


def carry_out(folder, planned):
    executor.carry_out(folder / "x", planned)


def named(folder):
    done = oracle.info(folder)
    return done.get("backing-filename"), done.get("backing-filename-format")


@pytest.mark.parametrize("options", ["cluster_size=64k", "cluster_size=512,compat=0.10", "cluster_size=2k"])
@pytest.mark.parametrize("name", ["new.raw", "./" * 80 + "new.raw", "n"])
def test_an_image_names_its_new_backing_file(tmp_path, options, name):
    image(tmp_path, options)
    (tmp_path / "n").write_bytes(b"")
    carry_out(tmp_path, edits(tmp_path, name))
    assert named(tmp_path) == (name, "raw")
    oracle.assert_clean(tmp_path)
    carry_out(tmp_path, edits(tmp_path, None))
    assert named(tmp_path) == (None, None)
    oracle.assert_clean(tmp_path)


def test_an_image_without_a_backing_file_gets_one(tmp_path):
    image(tmp_path, backing="")
    carry_out(tmp_path, edits(tmp_path, "new.raw"))
    assert named(tmp_path) == ("new.raw", "raw")
    oracle.assert_clean(tmp_path)


@pytest.mark.parametrize(
    ("options", "name", "words"),
    [
        ("cluster_size=64k", "a" * 1024, "Invalid argument"),
        ("cluster_size=512", "a" * 500, "No space left in the file header"),
    ],
)
def test_a_name_that_does_not_fit_is_refused_in_qemus_words(tmp_path, options, name, words):
    image(tmp_path, options)
    with pytest.raises(FormatError, match=words):
        edits(tmp_path, name)
    done = oracle.run(tmp_path, oracle.QEMU_IMG, "rebase", "-u", "-b", name, "-F", "raw", "x")
    assert words in done.stderr
    assert named(tmp_path) == ("old.raw", "raw")


def test_a_raw_data_file_and_a_backing_file_exclude_each_other(tmp_path):
    image(tmp_path, "data_file=d,data_file_raw=on", backing="")
    with pytest.raises(FormatError, match="Invalid argument"):
        edits(tmp_path, "new.raw")
    done = oracle.run(tmp_path, oracle.QEMU_IMG, "rebase", "-u", "-b", "new.raw", "-F", "raw", "x")
    assert "Invalid argument" in done.stderr


@pytest.mark.parametrize("name", ["new.raw", "./" * 300 + "new.raw", None])
def test_a_stop_at_any_write_leaves_the_old_name_or_the_new_one(tmp_path, name):
    image(tmp_path, backing="./" * 200 + "old.raw")
    planned = edits(tmp_path, name)
    start, old = (tmp_path / "x").read_bytes(), named(tmp_path)
    seen = set()
    for state in cuts.states(planned, random.Random(1), 40):
        (tmp_path / "x").write_bytes(start)
        carry_out(tmp_path, state)
        seen.add(named(tmp_path))
        oracle.assert_clean(tmp_path)
    assert seen == {old, (name, name and "raw")}
