"""The tools of the conformance kit do what the laws rely on."""

from __future__ import annotations

import random
import sys
import time
from pathlib import Path

import pytest

from instar_core.testing import budget, content, executor, fuzz, hostile, specimen
from instar_core.testing.law import Broken
from instar_core.testing.medium import PAGE, Disk, Patched
from instar_core.testing.subject import Subject
from instar_core.types import Barrier, Coding, Copy, Geometry, Kind, Put, Reserve, Run, Truncate, Zero


@pytest.fixture(scope="module")
def toy(toy_site: Path) -> Subject:
    sys.path.insert(0, str(toy_site))
    try:
        import instar_toy

        return Subject(instar_toy.SPEC)
    finally:
        sys.path.remove(str(toy_site))


def test_a_disk_in_memory_reads_as_a_file_would(tmp_path):
    dice, disk, path = random.Random(1), Disk(), tmp_path / "file"
    with open(path, "w+b") as file:
        for _ in range(400):
            offset, length = dice.randrange(10 * PAGE), dice.choice((0, 1, 511, 4096, PAGE, 3 * PAGE + 7))
            if dice.random() < 0.1:
                disk.truncate(offset)
                file.truncate(offset)
                continue
            data = bytes(length) if dice.random() < 0.3 else dice.randbytes(length)
            if data.strip(b"\0"):
                disk.write(offset, data)
            else:
                disk.zero(offset, length)
            file.seek(offset)
            file.write(data)
            if not length:
                disk.truncate(max(disk.size, offset))
                file.truncate(disk.size)
            file.flush()
        want = path.read_bytes()
        assert disk.size == len(want)
        assert disk.pread(len(want) + 9, 0) == want
    for start, length in disk.ranges():
        assert not disk.blank(start, length)


def test_a_patched_medium_differs_only_in_its_patches():
    base = Disk(b"abcdefgh")
    made = Patched(base, 12, ((2, b"XY"), (7, b"12345678")))
    assert made.pread(99, 0) == b"abXYefg12345"
    assert made.pread(2, 3) == b"Ye"
    assert made.pread(5, 12) == b""


def recording() -> executor.RecordingDevice:
    made = executor.RecordingDevice([Disk()])
    made.do(executor.Step("write", 0, 0, b"a" * 2048))
    made.do(executor.Step("barrier"))
    made.do(executor.Step("write", 0, 2048, b"b" * 2048))
    made.do(executor.Step("truncate", 0, 0, b"", 8192))
    return made


def test_a_recording_is_played_back_up_to_any_step():
    made = recording()
    assert [files[0].size for files in map(made.prefix, range(5))] == [0, 2048, 2048, 4096, 8192]
    assert made.barriers() == [1]


def test_a_cut_keeps_what_a_barrier_made_safe_and_drops_or_tears_the_rest():
    made, dice, seen = recording(), random.Random(2), set()
    for _ in range(200):
        (file,) = made.cut(4, dice)
        assert file.read(0, 2048) == b"a" * 2048
        sectors = tuple(file.read(at, 512) for at in range(2048, 4096, 512))
        assert set(sectors) <= {b"b" * 512, bytes(512)}
        seen.add((sectors, file.size == 8192))
    assert len(seen) > 12
    assert {size for _, size in seen} == {True, False}


def test_a_cut_before_the_first_barrier_may_leave_nothing():
    made, dice = recording(), random.Random(3)
    assert 0 in {made.cut(1, dice)[0].allocated for _ in range(50)}


def desk(*runs: Run) -> executor.Desk:
    made = executor.Desk()
    made.open(
        [content.Offer(run, b"x" * (run.stored or run.length)) for run in runs], executor.RecordingDevice([Disk()])
    )
    list(made.runs())
    return made


@pytest.mark.parametrize(
    ("edits", "words"),
    [
        ((Copy(0, 0, 512), Copy(0, 0, 512)), "not offered or is placed"),
        ((Copy(0, 0, 300), Copy(200, 0, 312)), "twice"),
        ((Copy(4096, 0, 512),), "not offered|of a run"),
        ((Copy(0, 0, 1024),), "of a run"),
        ((Copy(0, -1, 512),), "at -1"),
        ((Put(1 << 63, b"x"),), "at 9223372036854775808"),
        ((Put(0, bytes((4 << 20) + 1)),), "limits.PUT"),
        ((Put(0, b"x", 1),), "device 1 of 1"),
        ((Zero(0, -5),), "-5 bytes"),
        ((Reserve(0, 5, "magic"),), "magic"),
        ((Truncate(-1),), "-1 bytes"),
        ((None,), "NoneType"),
        ((Barrier(),), "run at 0 was not placed"),
    ],
)
def test_an_edit_that_the_contract_forbids_is_refused(edits, words):
    made = desk(Run(0, 512))
    with pytest.raises(Broken, match=words):
        for edit in edits:
            made.apply(edit)
        made.finish()


def test_an_encoded_run_is_copied_whole_and_once():
    made = desk(Run(0, 4096, Kind.DATA, 100, 1))
    with pytest.raises(Broken, match="only copied whole"):
        made.apply(Copy(0, 0, 99))
    made.apply(Copy(0, 7, 100))
    made.finish()
    assert made.recording.files[0].size == 107


def test_a_writer_that_hoards_runs_is_refused():
    made = executor.Desk()
    made.open((content.Offer(Run(at * 512, 512), b"x" * 512) for at in range(9000)), executor.RecordingDevice([Disk()]))
    with pytest.raises(Broken, match="memory is bounded"):
        list(made.runs())


@pytest.mark.parametrize("unit", [512, 4096, 65536])
@pytest.mark.parametrize("zeros", [False, True])
def test_offers_hold_the_whole_disk_in_aligned_runs(unit, zeros):
    dice = random.Random(unit)
    for size in (512, 65536, 1_000_448):
        disk = content.scattered(dice, size)
        seen, at = Disk(), 0
        for run, data in content.offers(disk, Geometry(unit, size, zeros=zeros), random=dice):
            assert run.start >= at
            assert run.start % unit == 0
            assert (run.start + run.length) % unit == 0 or run.start + run.length == size
            assert run.kind == Kind.DATA or zeros
            assert not zeros or run.start == at
            at = run.start + run.length
            seen.write(run.start, data)
        assert seen.read(0, size) == disk.read(0, size)
        assert not zeros or at == size


def test_offers_that_are_to_be_compressed_shrink():
    disk = Disk(b"pattern " * 50_000)
    geometry = Geometry(65536, disk.size, coding=Coding("deflate-12", 65536))
    runs = [run for run, _ in content.offers(disk, geometry, compress=True)]
    assert all(run.coding and run.stored < 4096 for run in runs)
    assert sum(run.length for run in runs) == disk.size


def test_a_hook_that_never_ends_is_stopped_and_the_clock_is_set_back():
    began = time.process_time()
    with pytest.raises(budget.OverBudget, match="processor time"), budget.within(budget.Budget(seconds=0.2)):
        while True:
            pass
    assert time.process_time() - began < 2
    end = time.process_time() + 0.4
    while time.process_time() < end:
        pass


def test_a_hook_that_wants_all_memory_is_stopped_and_the_limit_lifted():
    import resource

    before = resource.getrlimit(resource.RLIMIT_AS)
    with pytest.raises(budget.OverBudget, match="memory"), budget.within(budget.Budget(memory=64 << 20)):
        bytearray(16 << 30)  # more than any allocator keeps back
    assert resource.getrlimit(resource.RLIMIT_AS) == before
    assert len(bytearray(100 << 20)) == 100 << 20


def test_mutations_are_the_same_for_the_same_seed_and_reach_every_range():
    disk = Disk(bytes(range(256)) * 1024)
    places = [(0, 0, 64), (0, 100_000, 32_768), (0, 200_000, 8)]
    first = list(hostile.mutations([disk], places, (), random.Random(4), 600))
    assert first == list(hostile.mutations([disk], places, (), random.Random(4), 600))
    assert first != list(hostile.mutations([disk], places, (), random.Random(5), 600))
    touched = [offset for one in first for offset, _ in one.patches]
    for _, start, length in places:
        assert sum(start <= offset < start + length for offset in touched) > 50
    assert {one.size for one in first if one.size is not None and one.size < 520}
    words = {patch for one in first for _, patch in one.patches}
    for edge in hostile.EDGES:
        assert edge.to_bytes(8, "big") in words or edge.to_bytes(8, "little") in words, hex(edge)


def test_every_start_is_cut_when_there_are_samples_enough():
    made = hostile.mutations([Disk(bytes(4096))], [(0, 0, 8)], (), random.Random(1), 4 * hostile.TRUNCATIONS)
    assert {one.size for one in made if one.size is not None} >= set(range(hostile.TRUNCATIONS))


def test_fuzzing_a_sound_format_fails_nothing_and_both_answers_and_refuses(toy):
    images = list(specimen.own(toy, (512, 1_000_448), random.Random(1)))
    result = fuzz.mutate(images, toy, 300, 9)
    assert result.runs == 300
    assert result.failures == ()
    assert result.answered["info"] > 20
    assert result.refused["info"] > 20
    assert result == fuzz.mutate(images, toy, 300, 9)


@pytest.mark.long
def test_fuzzing_the_toy_for_long_fails_nothing(toy):
    seed = random.SystemRandom().getrandbits(32)
    images = list(specimen.own(toy, (512, 65536, 1_000_448), random.Random(seed)))
    result = fuzz.mutate(images, toy, 20_000, seed)
    assert not result.failures, f"seed {seed}: {result}"
