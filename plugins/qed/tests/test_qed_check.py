"""What check counts and repair mends, beside what qemu-img check counts and mends."""

from __future__ import annotations

import random

import pytest

from instar_core.errors import FormatError
from instar_core.source import Image, bytes_source
from instar_core.testing.medium import Disk
from instar_core.types import Barrier, Repair, Severity, Tally

MIB = 1 << 20
SIZE = 2 * MIB


def findings(subject, data):
    found = list(subject.check(Image([bytes_source(data)])))
    assert isinstance(found[-1], Tally)
    return found[:-1], found[-1]


def counts(subject, data):
    """The counts by qemu-img's names, without those that are 0."""
    found, tally = findings(subject, data)
    made = {"total-clusters": tally.total, "allocated-clusters": tally.allocated}
    made["fragmented-clusters"] = tally.fragmented
    for name, severity in (("leaks", Severity.LEAK), ("corruptions", Severity.CORRUPTION)):
        made[name] = sum(one.count for one in found if one.severity == severity)
    return {name: count for name, count in made.items() if count}


def theirs(programs, path, *more):
    said = programs.answer("check", path, *more, check=False)
    return {key: value for key, value in said.items() if isinstance(value, int) and value and "fixed" not in key}


def images(builder):
    """Images with one fault or oddity each."""
    data = builder.DATA
    base = {0: data, 1: data, 3: builder.ZERO, 5: data, 6: data}
    build, changed = builder.build, builder.changed
    good = build(SIZE, base)
    return {
        "sound": good,
        "disorder": build(SIZE, base, order=[5, 0, 6, 1, 3]),
        "a leak": build(SIZE, base, gap=[5]),
        "several leaks": build(SIZE, base, gap=[0, 5, 6], tail=b"x" * 9000),
        "a tail": good + b"x" * 100,
        "a short last cluster": good[:-512],
        "a last sector cut": good[:-100],
        "a cluster far away": build(SIZE, {**base, 9: 1 << 40}),
        "a cluster not aligned": build(SIZE, {**base, 9: 9 * 4096 + 512}),
        "an entry of 2": build(SIZE, {**base, 9: 2}),
        "a cluster in the header": build(SIZE, {**base, 9: 4096}, header=2),
        "a run that begins in the header": build(SIZE, {1: 4096, 2: 8192, 3: 12288, 4: 16384}, header=3),
        "a run past the end": build(SIZE, {number: 4096 * (number + 6) for number in range(20)}),
        "a run far past the end": build(SIZE, {number: (1 << 40) + 4096 * number for number in range(20)}),
        "a run not aligned": build(SIZE, {number: 20481 + 4096 * number for number in range(9)}),
        "a shared cluster": build(SIZE, {**base, 9: 4096 * 7}),
        "a cluster shared by many": build(SIZE, {**base, **dict.fromkeys(range(20, 40), 4096 * 7)}),
        "a bad entry many times": build(SIZE, {**base, **dict.fromkeys(range(20, 40), 1 << 50)}),
        "two clusters shared": build(SIZE, {**base, 9: 4096 * 7, 10: 4096 * 8}),
        "a table as data": build(SIZE, {**base, 9: 4096 * 3}),
        "an L1 entry far away": changed(good, 4096, 1 << 40),
        "an L1 entry not aligned": changed(good, 4096, 4096 * 3 + 512),
        "an L1 entry of 1": changed(good, 4104, 1),
        "a table twice": changed(good, 4104, 4096 * 3),
        "a table twice past the disk": changed(good, 4096 + 80, 4096 * 3),
        "a table that is the L1 table": changed(good, 4096, 4096),
        "a table over data": changed(good, 4104, 4096 * 6),
        "a table past the end": build(SIZE, {0: builder.ZERO}, table=4)[: -4096 * 2],
        "no header clusters": changed(good, 12, 0, "<I"),
        "clusters past the disk": build(6 * 4096, {0: data, 7: data, 8: 5555}),
        "a disk of nothing": build(0, {}),
        "larger tables": build(4 * MIB, base, table=16),
    }  # fmt: skip


NAMES = (
    "sound", "disorder", "a leak", "several leaks", "a tail", "a short last cluster", "a last sector cut",
    "a cluster far away", "a cluster not aligned", "an entry of 2", "a cluster in the header",
    "a run that begins in the header", "a run past the end", "a run far past the end", "a run not aligned",
    "a shared cluster", "a cluster shared by many", "a bad entry many times", "two clusters shared",
    "a table as data", "an L1 entry far away", "an L1 entry not aligned", "an L1 entry of 1", "a table twice",
    "a table twice past the disk", "a table that is the L1 table", "a table over data", "a table past the end",
    "no header clusters", "clusters past the disk", "a disk of nothing", "larger tables",
)  # fmt: skip


def test_all_images_are_tried(builder):
    assert tuple(images(builder)) == NAMES


@pytest.mark.oracle
@pytest.mark.parametrize("name", NAMES)
def test_counts_are_qemus(name, tmp_path, builder, programs, subject):
    data = images(builder)[name]
    path = tmp_path / "disk.qed"
    path.write_bytes(data)
    assert counts(subject, data) == theirs(programs, path)


@pytest.mark.oracle
@pytest.mark.parametrize("seed", range(20))
def test_counts_are_qemus_whatever_the_tables_say(seed, tmp_path, builder, programs, subject):
    choose = random.Random(seed)
    clusters = {}
    for number in choose.sample(range(2000), 60):
        wild = choose.choice((choose.randrange(0, 90) * 4096, choose.randrange(1 << 20), 1, 2))
        clusters[number] = choose.choice((builder.DATA, builder.DATA, builder.ZERO, wild))
    data = builder.build(8 * MIB, clusters, order=choose.sample(list(clusters), len(clusters)))
    for _ in range(choose.randrange(3)):
        data = builder.changed(data, 4096 + 8 * choose.randrange(9), choose.randrange(90) * 4096)
    path = tmp_path / "disk.qed"
    path.write_bytes(data)
    assert counts(subject, data) == theirs(programs, path)


def test_clusters_that_are_in_use_are_no_leaks_in_a_file_of_many(tmp_path, builder, programs, subject):
    """quirk("qed-leaks-that-are-none")"""
    data = builder.build(20 * MIB, dict.fromkeys(range(4500), builder.DATA), table=16)
    assert counts(subject, data) == {"total-clusters": 5120, "allocated-clusters": 4500}
    path = tmp_path / "disk.qed"
    path.write_bytes(data)
    # One for every cluster_size - 1 clusters of the file.
    assert theirs(programs, path) == {
        "total-clusters": 5120,
        "allocated-clusters": 4500,
        "leaks": len(data) // 4096 // 4095,
    }


@pytest.mark.oracle
@pytest.mark.parametrize("name", NAMES)
def test_a_repair_of_all_leaves_what_qemus_leaves(name, tmp_path, builder, programs, subject, mend):
    data = images(builder)[name]
    if len(data) % 4096:
        data = data[: len(data) // 4096 * 4096]  # qemu-img cuts the file there
    mended, _ = mend(data, Repair("all"))
    path = tmp_path / "disk.qed"
    path.write_bytes(data)
    programs.img("check", "-f", "qed", "-r", "all", path, check=False)
    if programs.answer("check", path, check=False).get("leaks") and len(mended) < len(data):
        # qemu frees no leak.
        theirs_reads = programs.content(path)
        path.write_bytes(mended)
        assert programs.content(path) == theirs_reads
        assert programs.img("check", "-f", "qed", path).returncode == 0
    else:
        assert mended == path.read_bytes()
    wanted = {finding.repairable for finding in findings(subject, mended)[0]}
    assert True not in wanted, "a second check finds something that could be mended"


@pytest.mark.parametrize("mode", ("leaks", "all"))
def test_a_sound_image_that_needs_a_check_needs_none_after_a_repair(mode, builder, subject, mend):
    data = builder.build(SIZE, {0: builder.DATA, 5: builder.DATA}, features=builder.NEED_CHECK, gap=[5])
    (leak, note), _ = findings(subject, data)
    assert (leak.severity, leak.count, leak.repairable) == (Severity.LEAK, 1, True)
    assert (note.severity, note.repairable) == (Severity.NOTE, True)
    mended, _ = mend(data, Repair(mode))
    assert mended == builder.build(SIZE, {0: builder.DATA, 5: builder.DATA})


def test_a_repair_of_leaks_alone_takes_no_mapping_away(builder, mend):
    """quirk("qed-repair-of-leaks")"""
    data = builder.build(SIZE, {0: builder.DATA, 9: 1 << 40}, features=builder.NEED_CHECK)
    mended, history = mend(data, Repair("leaks"))
    assert mended == data
    assert not history.steps


def test_what_cannot_be_mended_keeps_the_mark_that_a_check_is_needed(builder, subject, mend):
    """quirk("qed-needs-a-check")"""
    data = builder.build(SIZE, {0: builder.DATA, 1: 4096 * 5, 9: 1 << 40}, features=builder.NEED_CHECK)
    assert not next(one for one in findings(subject, data)[0] if one.severity == Severity.NOTE).repairable
    mended, _ = mend(data, Repair("all"))
    assert mended == builder.build(SIZE, {0: builder.DATA, 1: 4096 * 5}, features=builder.NEED_CHECK)


def test_unknown_autoclear_features_are_cleared_before_anything_else_changes(builder, mend):
    data = builder.build(SIZE, {0: builder.DATA, 9: 1 << 40}, autoclear=9, compat=7)
    mended, history = mend(data, Repair("all"))
    assert mended == builder.build(SIZE, {0: builder.DATA}, compat=7).ljust(len(data), b"\0")
    assert [step.what for step in history.steps[:2]] == ["write", "barrier"]


def test_unknown_autoclear_features_of_a_sound_image_stay_and_are_told(builder, subject, mend):
    data = builder.build(SIZE, {0: builder.DATA}, autoclear=9)
    assert mend(data, Repair("all"))[0] == data
    assert [one.text for one in findings(subject, data)[0]] == ["Unknown autoclear features: 9"]


def test_a_repair_that_is_cut_anywhere_reads_as_before_or_as_after(builder, subject, mend):
    clusters = {0: builder.DATA, 9: 1 << 40, 10: 77, 20: builder.DATA}
    data = builder.build(SIZE, clusters, features=builder.NEED_CHECK)
    _, history = mend(data, Repair("all"))
    choose = random.Random(1)
    before = counts(subject, data)["corruptions"]
    for step in range(len(history.steps) + 1):
        for _ in range(5):
            (file,) = history.cut(step, choose)
            left = counts(subject, file.read(0, file.size)).get("corruptions", 0)
            assert left <= before
            marked = file.read(16, 1)[0] & builder.NEED_CHECK
            assert marked or not left, "the mark is gone although something is left to mend"
    assert any(step.what == "barrier" for step in history.steps)


def test_findings_tell_where_and_what(builder, subject):
    data = builder.build(SIZE, {0: builder.DATA, 1: 4096 * 6, 9: 1 << 40}, gap=[0], tail=bytes(8192))
    found, _ = findings(subject, data)
    assert [(one.text, one.count) for one in found] == [
        ("ERROR cluster 6 is referenced more than once", 1),
        ("ERROR data cluster offset 0x10000000000 is not that of a cluster of the file", 1),
        ("Leaked cluster 5", 1),
        ("Leaked clusters 7 to 8", 2),
    ]
    assert [one.offset for one in found] == [4096 * 3, 4096 * 3 + 8 * 9, 4096 * 5, 4096 * 7]


def test_a_file_of_too_many_clusters_is_refused(builder, subject, monkeypatch):
    monkeypatch.setattr("instar_qed.limits.CLUSTERS", 4)
    with pytest.raises(FormatError, match="File too large"):
        list(subject.check(Image([bytes_source(builder.build(SIZE, {0: builder.DATA}))])))


def test_a_sparse_file_of_any_size_is_checked_in_no_time(builder, subject):
    from instar_core.testing.medium import source

    disk = Disk(builder.build(SIZE, {0: builder.DATA}))
    disk.truncate(1 << 40)
    found = list(subject.check(Image([source(disk)])))
    assert [one.count for one in found[:-1]] == [(1 << 40) // 4096 - 6]


def test_a_repair_ends_each_phase_with_a_barrier(builder, subject):
    data = builder.build(SIZE, {0: builder.DATA, 9: 1 << 40}, features=builder.NEED_CHECK)
    edits = list(subject.write(Image([bytes_source(data)]), Repair("all"), iter(())))
    assert [type(edit).__name__ for edit in edits] == ["Zero", "Barrier", "Put"]
    assert isinstance(edits[1], Barrier)
