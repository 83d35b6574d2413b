"""The benchmark runs, compares, and says what it compared."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

pytestmark = [
    pytest.mark.oracle,
    pytest.mark.skipif(not (ROOT / "bench").is_dir(), reason="bench/ is not part of this source distribution"),
    pytest.mark.skipif(
        not (Path(sys.executable).parent / "instar").exists() and not shutil.which("instar"),
        reason="the command instar is not installed",
    ),
    pytest.mark.skipif(
        not all(
            os.environ.get(f"INSTAR_QEMU_{name}") or shutil.which(f"qemu-{name.lower()}") for name in ("IMG", "IO")
        ),
        reason="qemu-img and qemu-io are needed",
    ),
]


def bench(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "bench", *words], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )


def test_the_cases_of_info_are_measured_and_their_ratios_printed(tmp_path: Path) -> None:
    told = tmp_path / "told.json"
    done = bench("--quick", "--only", "info-[qrv]*", "--runs", "2", "--folder", str(tmp_path), "--json", str(told))
    results = json.loads(told.read_text())["results"]
    troubled = [each for each in results if each["trouble"]]
    assert done.returncode == bool(troubled), done.stderr
    assert len(troubled) < len(results), troubled  # some may be: qemu-imgs of other versions print other answers
    assert [each["case"] for each in results] == ["info-raw", "info-qcow2", "info-qcow2-json", "info-vmdk"]
    for each in results:
        line = next(line for line in done.stdout.splitlines() if line.split()[:1] == [each["case"]])
        if each["trouble"]:
            assert each["trouble"] == "different: the two programs print different answers"
            assert each["trouble"] in line
            continue
        assert len(each["runs"]["ours"]) == len(each["runs"]["theirs"]) == 8
        assert 0 < each["theirs"] < 60 and 0 < each["ours"] < 60
        assert each["ratio"] == pytest.approx(each["ours"] / each["theirs"])
        assert f"{each['ratio']:.2f}" in line
    assert list(tmp_path.iterdir()) == [told]


def test_a_smoke_run_compares_outputs_and_keeps_sizes_and_memory(tmp_path: Path) -> None:
    told = tmp_path / "told.json"
    names = ["random-reads", "convert-raw-zlib", "convert-raw-qcow2-xfs"]
    words = [word for name in names for word in ("--only", name)]
    done = bench("--smoke", *words, "--folder", str(tmp_path), "--json", str(told))
    assert done.returncode == 0, done.stdout + done.stderr
    reads, coded, shared = json.loads(told.read_text())["results"]
    assert len(reads["runs"]["ours"]) == len(coded["runs"]["ours"]) == 1
    assert 0.5 < coded["size"] < 1.5
    assert all(peak > 0 for peak in coded["peaks"])
    assert shared["skipped"] or shared["ratio"]
    assert list(tmp_path.iterdir()) == [told]

    again = bench("--smoke", *words, "--folder", str(tmp_path), "--json", str(told), "--resume", "--against", str(told))
    assert again.returncode == 0, again.stdout + again.stderr
    assert "convert-raw-zlib" not in again.stderr  # done before
    assert f"then {coded['ratio']:.2f}" in again.stdout
    assert [each["case"] for each in json.loads(told.read_text())["results"]] == [
        "random-reads", "convert-raw-zlib", "convert-raw-qcow2-xfs",
    ]  # fmt: skip


def test_outputs_that_differ_are_told_and_not_measured(tmp_path: Path) -> None:
    code = """if True:
        import sys
        sys.path.insert(0, ".")
        from bench import programs
        from bench.case import Case
        from bench.compare import carry_out
        from bench.images import SMOKE, Images
        found = programs.find()
        words = ("info", "@small.qcow2")
        case = Case("differs", words, ("instar", *words, "--output=json"), answers=True)
        (result,) = carry_out(case, Images(sys.argv[1], found, SMOKE), 1, ["process"])
        print(result.trouble, result.runs)
    """
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "different: the two programs print different answers {}\n"


def test_an_unknown_case_is_refused() -> None:
    assert bench("--only", "nothing-of-this-name").returncode == 2


def test_a_case_that_parses_nothing_is_measured_once_and_others_in_every_sandbox(tmp_path: Path) -> None:
    code = """if True:
        import sys
        sys.path.insert(0, ".")
        from bench import programs
        from bench.cases import CASES
        from bench.compare import carry_out
        from bench.images import SMOKE, Images
        found = programs.find()
        images = Images(sys.argv[1], found, SMOKE)
        for name in ("start-version", "start-info"):
            case = next(case for case in CASES if case.name == name)
            for result in carry_out(case, images, 1, ["process", "auto"]):
                print(name, result.sandbox, result.jail > 0, len(result.runs["ours"]), result.trouble)
    """
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, timeout=120, check=True
    )
    assert [line.rstrip() for line in done.stdout.splitlines()] == [
        "start-version  False 4",
        "start-info process False 4",
        "start-info auto True 4",
    ]


def test_no_command_always_runs_after_the_same_one(tmp_path: Path) -> None:
    log = tmp_path / "log"
    code = """if True:
        import os, shutil, sys
        sys.path.insert(0, ".")
        from bench.measure import Command, in_turns
        log = sys.argv[1]
        made = [Command([shutil.which("sh"), "-c", f"echo {name} >>{log}"], f"{log}.{name}") for name in "abc"]
        turns = in_turns(made[0], made[1:], 3)
        print(len(turns.theirs), *[len(runs) for runs in turns.ours])
    """
    done = subprocess.run(
        [sys.executable, "-c", code, str(log)], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.split() == ["3", "3", "3"]
    assert log.read_text().split() == list("abcbcacab")


def test_guests_are_measured_beside_jailed_processes(tmp_path: Path) -> None:
    told = tmp_path / "told.json"
    done = subprocess.run(
        [sys.executable, "-m", "bench.sandbox", "--runs", "1", "--json", str(told)],
        cwd=ROOT, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    if done.returncode == 2:
        pytest.skip(f"no guests here: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    rows = json.loads(told.read_text())
    assert len(rows) == 10
    for row in rows:
        assert row["name"] in done.stdout
        assert all(figure > 0 for figure in [*row["process"], *row["kvm"]]), row
        assert row["kvm"]
