"""The power is cut at every step of every change in place: the old state is left, or the new, with leaks at most.

INSTAR_CRASH_SEED chooses the images, INSTAR_CRASH_ONLY a format or an operation (or both: "qcow2 resize"),
INSTAR_CRASH_STATES how many distinct states of each are judged in the long run, INSTAR_CRASH_FIRST the first image of
each, for running parts of it at once. INSTAR_CRASH_DONE is a folder that keeps what was judged and found right, so that
a run which was stopped goes on where it was. INSTAR_CRASH_KEEP leaves the files.
"""

from __future__ import annotations

import os
import shutil
import time
from collections import Counter
from pathlib import Path
from random import Random

import pytest

from instar_core import registry
from instar_core.cli.main import VERBS
from instar_core.testing.beside import beside
from instar_core.testing.crash import History
from instar_core.testing.executor import Step
from instar_core.testing.medium import Disk
from instar_core.testing.recorder import Recorder, load
from instar_core.types import Capability

SEED = 20261121
ORDINARY = 12
FLOOR, TOTAL = 500, 20_000
"""Distinct states of each operation on each format, and of all."""
PER_IMAGE = 150
IMAGES = 600
MOST_FAILURES = 5
MOST_REFUSED = 0.75
HARMLESS = {Capability.READ, Capability.CREATE, Capability.FILL, Capability.CHECK, Capability.MEASURE, Capability.EMPTY}
"""What changes no image that is there by itself. Images are emptied when they were committed."""
REFUSED_AMENDMENTS = {"backing_file", "backing_fmt", "data_file_raw"}
"""Options that are known and cannot be amended, as with qemu-img."""


module = beside(__file__)
for _name in ("histories", *(f"crash_{each}" for each in ("cuts", "content", "images", "damage", "sealed", "writing"))):
    module(_name)
scenarios, cuts = module("crash_scenarios"), module("crash_cuts")


@pytest.fixture(scope="module")
def tools():
    found = []
    for name, variable in (("qemu-img", "INSTAR_QEMU_IMG"), ("qemu-io", "INSTAR_QEMU_IO")):
        path = os.environ.get(variable) or shutil.which(name)
        if not path:
            pytest.skip(f"{name} is not installed")
        found.append(path)
    return scenarios.Tools(*found)


def number(variable, default):
    return int(os.environ.get(variable, default))


def judged(format, operation, tools, folder, wanted, images, per_image):
    """Distinct states that were judged of one operation on one format, and what is wrong with them."""
    seed, first = number("INSTAR_CRASH_SEED", SEED), number("INSTAR_CRASH_FIRST", 0)
    digests, wrong, refused, index = set(), [], [], first
    while len(digests) < wanted and index < first + images:
        told = f"INSTAR_CRASH_SEED={seed} INSTAR_CRASH_FIRST={index} INSTAR_CRASH_ONLY='{format} {operation}'"
        random = Random(f"{seed}/{format}/{operation}/{index}")
        place = folder / f"{format}-{operation}-{index}".replace(" ", "-")
        (place / "case").mkdir(parents=True)
        shop = scenarios.Workshop(place / "case", random, tools)
        try:
            case = scenarios.OPERATIONS[operation].make(shop, format)
            judge = cuts.Judge(case, place / "state", tools.img, random, told)
            wrong += judge.run(min(per_image, max(12, wanted // 8), wanted - len(digests)))
            digests |= judge.digests
        except cuts.Missing:
            return None, []
        except cuts.Refused as refusal:
            refused.append(str(refusal).strip())
        except Exception as error:
            wrong.append(f"{told}: {type(error).__name__}: {error}")
        if "INSTAR_CRASH_KEEP" not in os.environ:
            shutil.rmtree(place)
        index += 1
        if len(wrong) >= MOST_FAILURES:
            break
    if len(refused) > max(4, (index - first) * MOST_REFUSED):
        wrong.append(f"{format} {operation}: {len(refused)} of {index - first} were refused: {Counter(refused)}")
    return digests, wrong


def chosen():
    only = os.environ.get("INSTAR_CRASH_ONLY", "")
    return [pair for pair in scenarios.available() if only in " ".join(pair)]


def kept(format, operation):
    """Where the states of an operation on a format are kept that were found right; None for nowhere."""
    folder = os.environ.get("INSTAR_CRASH_DONE")
    return Path(folder, f"{format} {operation}") if folder else None


def run(tools, folder, wanted, images, per_image):
    """Distinct states of each operation on each format, all of them right."""
    states, wrong = {}, []
    began = time.monotonic()
    for format, operation in chosen():
        place, found, seconds = kept(format, operation), [], time.monotonic()
        if place is not None and place.exists():
            digests = set(map(bytes.fromhex, place.read_text().split()))
        else:
            digests, found = judged(format, operation, tools, folder, wanted, images, per_image)
            if place is not None and digests is not None and not found:
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_text("".join(f"{each.hex()}\n" for each in sorted(digests)))
        assert digests is not None, f"{format} {operation}: instar cannot do this"
        states[f"{format} {operation}"] = digests
        wrong += found
        seconds = time.monotonic() - seconds
        print(f"{format} {operation}: {len(digests)} states, {len(found)} wrong, {seconds:.0f} s", flush=True)
        for each in found:
            print(each, flush=True)
    total = len(set().union(*states.values()))
    print(f"{total} distinct states of {len(states)} operations on formats in {time.monotonic() - began:.0f} s")
    assert not wrong, f"{len(wrong)} states are wrong:\n" + "\n".join(wrong)
    return states


@pytest.mark.oracle
@pytest.mark.parametrize("pair", scenarios.available(), ids=" ".join)
def test_a_cut_leaves_the_old_state_or_the_new(pair, tools, tmp_path):
    wanted, images = (ORDINARY // 4, 2) if "encrypted" in pair[1] else (ORDINARY, 6)  # keys take time
    digests, wrong = judged(*pair, tools, tmp_path, wanted, images, ORDINARY // 2)
    if digests is None:
        pytest.skip("instar cannot do this yet")
    assert not wrong, "\n".join(wrong)
    assert len(digests) > 1


@pytest.mark.oracle
def test_a_chain_of_vhds_reads_the_same_wherever_coalescing_is_cut(tools, tmp_path):
    if ("vpc", "commit") not in scenarios.available():
        pytest.skip("instar-vpc is not installed")
    digests, wrong = set(), []
    for index in range(4):
        place = tmp_path / str(index)
        (place / "case").mkdir(parents=True)
        random = Random(f"{number('INSTAR_CRASH_SEED', SEED)}/coalesce/{index}")
        case = scenarios.coalesce(scenarios.Workshop(place / "case", random, tools))
        judge = cuts.Judge(case, place / "state", tools.img, random, f"coalesce {index}")
        wrong += judge.run(8)
        digests |= judge.digests
    assert not wrong, "\n".join(wrong)
    assert len(digests) > 8


@pytest.mark.oracle
def test_a_change_that_is_never_flushed_is_found_out(tools, tmp_path):
    if ("qcow2", "snapshot create") not in scenarios.available():
        pytest.skip("instar-qcow2 is not installed")
    found = []
    for index in range(4):
        place = tmp_path / str(index)
        (place / "case").mkdir(parents=True)
        shop = scenarios.Workshop(place / "case", Random(index), tools)
        case = scenarios.OPERATIONS["snapshot create"].make(shop, "qcow2")
        found += cuts.Judge(case, place / "state", tools.img, Random(index), "", flushed=False).run(100)
    assert any("qemu-img check" in each or "instar check" in each or "reads" in each for each in found)


@pytest.mark.oracle
@pytest.mark.long
def test_twenty_thousand_cuts_leave_the_old_state_or_the_new(tools, tmp_path):
    floor = number("INSTAR_CRASH_STATES", FLOOR)
    states = run(tools, tmp_path, floor, IMAGES, PER_IMAGE)
    few = {name: len(digests) for name, digests in states.items() if len(digests) < floor}
    assert not few, f"too few distinct states: {few}"
    if floor >= FLOOR and len(states) == len(scenarios.available()):
        assert len(set().union(*states.values())) >= TOTAL


def test_whatever_a_format_claims_to_change_is_cut():
    missing = scenarios.claimed() - set(scenarios.available())
    assert not missing, f"claimed by capabilities, and never cut: {sorted(missing)}"


def test_every_capability_to_change_has_an_operation_that_needs_it():
    needed = {each for operation in scenarios.OPERATIONS.values() for each in operation.capabilities}
    every = {value for name, value in vars(Capability).items() if name.isupper()}
    assert every - needed == HARMLESS


def test_every_verb_that_changes_an_image_is_cut():
    assert {operation.verb for operation in scenarios.OPERATIONS.values()} == set(scenarios.CHANGING)
    assert set(VERBS) - set(scenarios.CHANGING) == {"bench", "compare", "create", "info", "map", "measure"}


def test_every_option_that_can_be_amended_is_cut():
    cut = {option for operation in scenarios.OPERATIONS.values() for option in operation.options}
    for name in registry.entries():
        can = {option.name for option in registry.spec(name).amend_options}
        assert can - cut <= REFUSED_AMENDMENTS, f"{name}: {sorted(can - cut)} can be amended, and is never cut"


def test_every_write_is_there_missing_or_torn_until_it_is_flushed():
    steps = [
        Step("write", 0, 0, b"a" * 1024),
        Step("write", 1, 0, b"b" * 512),
        Step("sync", 0),
        Step("write", 0, 512, b"c" * 512),
        Step("sync", 0),
        Step("sync", 1),
    ]
    history = History([Disk(), Disk()], steps)
    assert history.open(2) == [0, 1]
    assert history.open(4) == [1, 3]
    assert history.open(5) == [1]
    assert history.open(6) == []
    states = {
        tuple(disk.read(0, disk.size) for disk in cut.files) for cut in history.cuts(Random(1), 10_000)
    }  # fmt: skip
    a, b, c, nothing = b"a" * 512, b"b" * 512, b"c" * 512, bytes(512)
    firsts = {b"", a + a, a, nothing + a, nothing + nothing}
    seconds = {b"", b, nothing}
    lost = {(one, other) for one in firsts for other in seconds}
    kept = {(a + each, other) for each in (a, c) for other in seconds}
    assert states == lost | kept


def test_a_change_that_the_recorder_does_not_hear_is_noticed(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(bytes(8192))
    with Recorder([str(path)]) as recorder:
        descriptor = os.open(path, os.O_RDWR)
        os.pwrite(descriptor, b"heard", 10)
        os.pwritev(descriptor, [b"this", b"too"], 600)
        os.fdatasync(descriptor)
        recorder.verify()
        os.lseek(descriptor, 100, os.SEEK_SET)
        os.write(descriptor, b"not heard")
        os.close(descriptor)
    heard = [(step.what, step.data) for step in recorder.steps]
    assert heard == [("write", b"heard"), ("write", b"thistoo"), ("sync", b"")]
    assert load(str(path)).read(10, 5) == b"heard"
    with pytest.raises(AssertionError, match="does not hear"):
        recorder.verify()
