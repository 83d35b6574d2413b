"""Images written here, judged by qemu-img."""

from __future__ import annotations

import random

import pytest
from instar_qed import SPEC, hooks

from instar_core.errors import FormatError
from instar_core.source import Image, bytes_source
from instar_core.testing import content, executor, specimen
from instar_core.testing.medium import Disk
from instar_core.types import Copy, Create, Kind, Put, Run, SnapshotEdit, Truncate

MIB = 1 << 20
SIZE = 5 * MIB + 512 * 33
OPTIONS = ({}, {"cluster_size": 4096, "table_size": 2}, {"cluster_size": 1 << 20}, {"table_size": 16})


def request(size, *, backing=None, **options):
    values = {option.name: None for option in SPEC.options} | {"cluster_size": 65536} | options
    return Create(size, values, b"disk.qed", backing=backing)


def made(subject, disk, seed=0, **options):
    """The bytes of an image that holds the disk."""

    def offer(geometry):
        disk.truncate(geometry.size)
        return content.offers(disk, geometry, compress=False, random=random.Random(seed))

    file = executor.make(subject, request(disk.size, **options), offer).files[0]
    return file.read(0, file.size)


def scattered(seed, size=SIZE):
    return content.scattered(random.Random(seed), size)


@pytest.mark.oracle
@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("seed", range(3))
def test_what_is_written_reads_back_for_qemu_and_here(options, seed, tmp_path, programs, subject, show):
    disk = scattered(seed)
    path = tmp_path / "disk.qed"
    path.write_bytes(made(subject, disk, seed, **options))
    said = programs.answer("check", path)
    assert not {"leaks", "corruptions"} & set(said)
    assert programs.content(path) == disk.read(0, SIZE)
    mine, ranges = show(path.read_bytes())
    assert mine == disk.read(0, SIZE)
    assert ranges == programs.answer("map", path)


@pytest.mark.oracle
@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("size", (0, 512, 65536, 65536 + 512, 3 * MIB))
def test_any_size_can_be_full_and_can_be_empty(options, size, tmp_path, programs, subject, show):
    data = random.Random(size).randbytes(size)
    for disk in (Disk(data), Disk()):
        disk.truncate(size)
        path = tmp_path / "disk.qed"
        path.write_bytes(made(subject, disk, **options))
        assert show(path.read_bytes())[0] == programs.content(path) == disk.read(0, size)


@pytest.mark.oracle
@pytest.mark.parametrize("size", (0, 512, 1000, SIZE, 64 << 30))
@pytest.mark.parametrize("options", (*OPTIONS, {"cluster_size": 4096, "table_size": 16}, {"table_size": 1}), ids=str)
def test_an_empty_image_is_qemus_to_the_byte(options, size, tmp_path, programs, subject):
    path = tmp_path / "theirs.qed"
    given = ",".join(f"{key}={value}" for key, value in options.items())
    extra = ["-o", given] if given else []
    done = programs.img("create", "-q", "-f", "qed", *extra, path, size, check=False)
    if done.returncode:
        with pytest.raises(FormatError):
            executor.make(subject, request(size, **options), lambda geometry: iter(()))
        return
    file = executor.make(subject, request(size, **options), lambda geometry: iter(())).files[0]
    assert file.size == path.stat().st_size
    with open(path, "rb") as theirs:
        for at in range(0, file.size, MIB):
            assert file.read(at, min(MIB, file.size - at)) == theirs.read(MIB)


@pytest.mark.oracle
@pytest.mark.parametrize("kind", ("raw", "qed", "qcow2"))
@pytest.mark.parametrize("cluster", (4096, 65536))
def test_the_header_of_an_overlay_is_qemus_to_the_byte(kind, cluster, tmp_path, programs, subject):
    base = tmp_path / "base"
    programs.img("create", "-q", "-f", kind, base, "1M")
    path = tmp_path / "theirs.qed"
    programs.img("create", "-q", "-f", "qed", "-o", f"cluster_size={cluster}", "-b", base, "-F", kind, path)
    backing = {"name": bytes(base), "format": kind, "size": MIB, "details": {}}
    asked = request(MIB, backing=backing, cluster_size=cluster, backing_file=str(base), backing_fmt=kind)
    file = executor.make(subject, asked, lambda geometry: iter(())).files[0]
    assert file.read(0, file.size) == path.read_bytes()


@pytest.mark.oracle
def test_over_a_backing_image_zeros_are_zero_clusters(tmp_path, programs, subject):
    size = 10 * 65536 + 512
    below = random.Random(2).randbytes(size)
    (tmp_path / "base").write_bytes(below)
    runs = [Run(65536, 131072, Kind.ZERO), Run(5 * 65536, 65536), Run(10 * 65536, 512, Kind.ZERO)]
    new = bytearray(below)
    new[65536 : 3 * 65536] = bytes(131072)
    new[5 * 65536 : 6 * 65536] = b"x" * 65536
    new[10 * 65536 :] = bytes(512)

    def offer(geometry):
        assert geometry.zeros
        return (content.Offer(run, b"x" * run.length if run.kind == Kind.DATA else b"") for run in runs)

    backing = {"name": b"base", "format": "raw", "size": size, "details": {}}
    file = executor.make(subject, request(size, backing=backing), offer).files[0]
    path = tmp_path / "disk.qed"
    path.write_bytes(file.read(0, file.size))
    assert programs.content(path) == bytes(new)
    assert programs.answer("check", path)["allocated-clusters"] == 1
    kinds = [extent.kind for extent in subject.map(Image([bytes_source(path.read_bytes())]), 0, size)]
    assert kinds == [Kind.ABSENT, Kind.ZERO, Kind.ABSENT, Kind.DATA, Kind.ABSENT, Kind.ZERO]


def plan(size, runs, **options):
    return list(hooks.instar_write(None, request(size, **options), iter(runs)))


def test_a_large_full_disk_is_streamed_in_few_pieces():
    size = 1 << 40
    edits = plan(size, [Run(0, size)])[1:]
    copies = [edit for edit in edits if isinstance(edit, Copy)]
    assert sum(edit.length for edit in copies) == size
    assert len(copies) == size // (32768 * 65536)
    puts = [edit for edit in edits if isinstance(edit, Put)]
    assert max(len(edit.data) for edit in puts) <= 4 << 20
    assert sum(len(edit.data) for edit in puts) == size // 65536 * 8 + 512 * 8 + 64


def test_large_tables_are_put_only_where_they_say_something():
    runs = [Run(1 << 49, 1 << 26), Run((1 << 50) - (1 << 26), 1 << 26)]
    edits = plan(1 << 50, runs, cluster_size=1 << 20, table_size=16)
    puts = [edit for edit in edits if isinstance(edit, Put)]
    assert sum(len(edit.data) for edit in puts) < 1 << 20
    assert [type(edit) for edit in edits[1:3]] == [Truncate, Truncate]


def test_what_commits_is_the_header_alone():
    edits = plan(SIZE, [Run(0, 65536)])
    names = [type(edit).__name__ for edit in edits]
    assert names.index("Barrier") == len(names) - 2
    assert edits[-1].offset == 0
    assert edits[-1].data[:4] == b"QED\0"


@pytest.mark.oracle
@pytest.mark.parametrize(
    "options",
    [
        {"cluster_size": 1000},
        {"cluster_size": 2048},
        {"cluster_size": 1 << 27},
        {"cluster_size": 0},
        {"table_size": 3},
        {"table_size": 0},
        {"table_size": 32},
        {"cluster_size": 3, "table_size": 3},
        {"cluster_size": 4096, "table_size": 1, "size": (1 << 30) + 512},
        {"size": (1 << 46) + 1},
        {"cluster_size": 1 << 21, "table_size": 16},
        {"cluster_size": 1 << 26, "table_size": 1},
    ],
    ids=str,
)
def test_options_that_cannot_be_had_are_refused_in_qemus_words(options, tmp_path, programs):
    size = options.pop("size", MIB)
    given = ",".join(f"{key}={value}" for key, value in options.items())
    extra = ["-o", given] if given else []
    path = tmp_path / "disk.qed"
    said = programs.img("create", "-f", "qed", *extra, path, size, check=False).stderr.decode()
    with pytest.raises(FormatError) as caught:
        plan(size, [], **options)
    assert said == f"qemu-img: {path}: {caught.value.message}\n"


@pytest.mark.parametrize(("cluster", "length"), ((4096, 4033), (65536, 4096)))
def test_a_backing_name_with_which_qemu_opens_no_image_is_refused(cluster, length, tmp_path, programs):
    """quirk("qed-backing-name-too-long")"""
    backing = {"name": b"a" * length, "format": "raw", "size": MIB, "details": {}}
    with pytest.raises(FormatError, match="QED backing filename offset is invalid"):
        plan(MIB, [], backing=backing, cluster_size=cluster)
    assert plan(MIB, [], backing={**backing, "name": b"a" * (length - 1)}, cluster_size=cluster)
    path = tmp_path / "disk.qed"
    command = ("create", "-q", "-u", "-f", "qed", "-o", f"cluster_size={cluster}", "-F", "raw", "-b")
    programs.img(*command, "a" * length, path, MIB)
    assert programs.img("info", "-f", "qed", path, check=False).returncode == 1


def test_an_existing_image_is_not_changed_otherwise():
    with pytest.raises(FormatError, match="cannot be changed"):
        hooks.instar_write(None, SnapshotEdit("create", "x"), ())


@pytest.mark.oracle
def test_the_options_and_their_help_are_qemus(programs):
    said = programs.img("create", "-f", "qed", "-o", "help").stdout.decode()
    found = {}
    for line in said.split("\n"):
        if line.startswith("  ") and "=<" in line:
            name, _, text = line.lstrip().partition("=<")
            found[name] = text.partition(" - ")[2]
    assert {option.name: option.help for option in SPEC.options} == found


@pytest.mark.oracle
def test_the_options_stand_in_qemus_order(tmp_path, programs):
    programs.img("create", "-q", "-f", "raw", tmp_path / "base", "1M")
    extra = ("-o", "table_size=8,cluster_size=4k", "-b", "base", "-F", "raw")
    said = programs.img("create", "-f", "qed", *extra, tmp_path / "disk.qed", "1M").stdout.decode()
    named = [word.partition("=")[0] for word in said.split("fmt=qed ")[1].split()]
    assert named == [option.name for option in SPEC.options]
    assert specimen.given(SPEC, {"table_size": "8"})["table_size"] == 8
