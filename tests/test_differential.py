"""Random histories of images, which instar and qemu-img must answer alike.

INSTAR_FUZZ_SEED chooses the histories, INSTAR_FUZZ_FIRST and INSTAR_FUZZ_CASES which of them, INSTAR_FUZZ_SECONDS ends
a run early; a failure tells the commands that remake it.
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import time
import tomllib
from collections import Counter
from pathlib import Path

import pytest

from instar_core.testing.beside import beside

ORDINARY = 100
FURTHER = 60
LONG = 2000
SEED = 20261121
MOST_FAILURES = 10
OLDEST = (10, 0)
"""Older ones answer differently in places."""


load = beside(__file__)
histories, excuses, differential = load("histories"), load("excuses"), load("differential")
formats, images = load("histories_formats"), load("qemu_images")


@pytest.fixture(scope="module")
def programs():
    return differential.Programs(*images.at_least(OLDEST))


def number(variable, default):
    return int(os.environ.get(variable, default))


def run(programs, folder, cases, make=histories.history, needed=("qcow2", "vmdk")):
    """So many histories are judged. Fails with the commands of those that disagree."""
    for format in needed:
        pytest.importorskip(f"instar_{format}", reason=f"instar-{format} is not installed")
    seed, first = number("INSTAR_FUZZ_SEED", SEED), number("INSTAR_FUZZ_FIRST", 0)
    print(f"\nINSTAR_FUZZ_SEED={seed} INSTAR_FUZZ_FIRST={first} INSTAR_FUZZ_CASES={cases}")
    differential.warm()
    seen, kinds, excused, failures, asked, converted, left_out = set(), Counter(), Counter(), [], 0, 0, 0
    until = time.monotonic() + number("INSTAR_FUZZ_SECONDS", 1 << 30)
    for index in range(first, first + cases):
        if time.monotonic() > until:
            print(f"time is up: stopped before INSTAR_FUZZ_FIRST={index}")
            break
        history = make(seed, index)
        if not history.kind.startswith(os.environ.get("INSTAR_FUZZ_KIND", "")):
            continue
        seen.add(history.steps)
        kinds[history.kind, len(history.chain), history.huge] += 1
        place = folder / str(index)
        place.mkdir()
        judge = differential.Judge(programs, place)
        try:
            wrong = judge.run(history)
        except differential.Unmade as error:
            print(f"INSTAR_FUZZ_FIRST={index} is left out: {error}", flush=True)
            left_out += 1
            continue
        finally:
            shutil.rmtree(place)
        asked += judge.asked
        converted += judge.converted
        excused += judge.excused
        if wrong:
            made = differential.remake(history, shlex.quote)
            failures.append(f"--- INSTAR_FUZZ_SEED={seed} INSTAR_FUZZ_FIRST={index}\n{made}\n" + "\n".join(wrong))
            print(failures[-1], flush=True)
            if len(failures) >= number("INSTAR_FUZZ_FAILURES", MOST_FAILURES):
                break
    done = sum(kinds.values())
    print(f"{len(seen)} distinct histories, {asked} commands of instar judged, {converted} new images: {dict(kinds)}")
    print(f"deliberate differences: {dict(excused)}")
    assert not failures, f"{len(failures)} histories disagree:\n" + "\n".join(failures)
    assert len(seen) == done
    assert converted >= done // 2, "most histories end in a conversion"
    assert left_out <= max(1, cases // 100)


@pytest.mark.oracle
def test_random_histories_are_answered_as_qemu_img_answers_them(programs, tmp_path):
    run(programs, tmp_path, number("INSTAR_FUZZ_CASES", ORDINARY))


@pytest.mark.oracle
@pytest.mark.long
def test_thousands_of_random_histories_are_answered_as_qemu_img_answers_them(programs, tmp_path):
    run(programs, tmp_path, number("INSTAR_FUZZ_CASES", LONG))


@pytest.mark.oracle
def test_random_histories_of_further_formats_are_answered_as_qemu_img_answers_them(programs, tmp_path):
    run(programs, tmp_path, number("INSTAR_FUZZ_CASES", FURTHER), formats.history, differential.FORMATS)


@pytest.mark.oracle
@pytest.mark.long
def test_thousands_of_histories_of_further_formats_are_answered_as_qemu_img_answers_them(programs, tmp_path):
    run(programs, tmp_path, number("INSTAR_FUZZ_CASES", LONG), formats.history, differential.FORMATS)


def test_a_command_that_hangs_is_ended_and_tells_where(monkeypatch, tmp_path):
    def hangs(_words):
        time.sleep(1000)

    monkeypatch.setattr(differential, "TIMEOUT", 1)
    monkeypatch.setattr("instar_core.cli.main.main", hangs)
    answer = differential.ours(("info", "image"), tmp_path)
    assert answer.code == -signal.SIGABRT
    assert b"in hangs" in answer.err


def test_what_is_excused_is_a_known_quirk():
    known = tomllib.loads(Path(__file__).parents[1].joinpath("docs", "quirks.toml").read_text())
    assert set(excuses.EXCUSES) <= {entry["name"] for entry in known["quirk"]}


def test_an_excuse_covers_nothing_but_its_quirk():
    whole = b'[{"start": 0, "length": 512, "data": true}]'
    parts = b'[{"start": 0, "length": 256, "data": true, "offset": 9}, {"start": 256, "length": 256, "data": false}]'
    told = differential.Answer(0, whole, b"")
    words = ("map", "--output=json", "-f", "vhdx", "1.vhdx")
    assert excuses.find(words, told, differential.Answer(0, parts, b"")) == "map-of-vhdx"
    assert not excuses.find(words, told, differential.Answer(0, whole.replace(b"512", b"256"), b""))
    assert not excuses.find(words, told, differential.Answer(1, b"", b"no"))
    assert not excuses.find((*words[:3], "vdi", "1.vdi"), told, differential.Answer(0, parts, b""))


def test_histories_are_the_same_for_the_same_seed_and_all_distinct():
    made = [histories.history(SEED, number) for number in range(2 * LONG)]
    assert made[:50] == [histories.history(SEED, number) for number in range(50)]
    assert len({history.steps for history in made}) == len(made)
    assert {history.kind for history in made} == {"qcow2 qcow2", "vmdk vmdk", "raw raw"}
    further = [formats.history(SEED, number) for number in range(FURTHER)]
    assert further == [formats.history(SEED, number) for number in range(FURTHER)]
    assert {history.kind for history in further} == set(formats.KINDS)
