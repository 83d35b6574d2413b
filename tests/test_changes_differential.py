"""Random sequences of changes, which leave images as qemu-img leaves them, with the same words and exit codes.

INSTAR_CHANGES_SEED chooses the sequences, INSTAR_CHANGES_FIRST and INSTAR_CHANGES_CASES which of them, so that parts
of a run can go on at once; INSTAR_CHANGES_FORMAT keeps to one format, INSTAR_CHANGES_SECONDS ends a run early. A
failure tells the commands that remake it.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sys
import time
import tomllib
from collections import Counter
from pathlib import Path

import pytest

from instar_core.testing.beside import beside

ORDINARY = 30
LONG = 5000
FLOOR = 200
SEED = 20261121
MOST_FAILURES = 10
REPORTED = 50
NEEDED = (11, 0)


load = beside(__file__)
histories, excuses, differential = load("histories"), load("excuses"), load("differential")
sequences, rules, images = load("changes_histories"), load("changes_excuses"), load("qemu_images")
looks, twins = load("changes_looks"), load("changes_differential")


@pytest.fixture(scope="module")
def programs():
    return differential.Programs(*images.at_least(NEEDED))


def number(variable, default):
    return int(os.environ.get(variable, default))


def run(programs, folder, cases):
    """So many sequences are judged; what happened how often. Fails with the commands of those that disagree."""
    for format in sequences.FORMATS:
        if format != "raw":
            pytest.importorskip(f"instar_{format}", reason=f"instar-{format} is not installed")
    seed, first = number("INSTAR_CHANGES_SEED", SEED), number("INSTAR_CHANGES_FIRST", 0)
    print(f"\nINSTAR_CHANGES_SEED={seed} INSTAR_CHANGES_FIRST={first} INSTAR_CHANGES_CASES={cases}")
    differential.warm()
    acts, refused, excused, failures, done, left_out = Counter(), Counter(), Counter(), [], 0, 0
    until = time.monotonic() + number("INSTAR_CHANGES_SECONDS", 1 << 30)
    for index in range(first, first + cases):
        if time.monotonic() > until:
            print(f"time is up: stopped before INSTAR_CHANGES_FIRST={index}")
            break
        sequence = sequences.sequence(seed, index)
        if os.environ.get("INSTAR_CHANGES_FORMAT", sequence.format) != sequence.format:
            continue
        place = folder / str(index)
        pair = twins.Twins(programs, place, twins.INLINE if index % 10 else (), back=bool(index % 2))
        try:
            wrong = pair.run(sequence)
        except differential.Unmade as error:
            print(f"\nINSTAR_CHANGES_FIRST={index} is left out: {error}", flush=True)
            left_out += 1
            continue
        finally:
            if "INSTAR_CHANGES_KEEP" not in os.environ:
                shutil.rmtree(place, ignore_errors=True)
        done += 1
        if not done % REPORTED:
            print(f"{done} done, up to INSTAR_CHANGES_FIRST={index}", flush=True)
        acts += pair.acts
        refused += pair.refused
        excused += pair.excused
        if wrong:
            made = twins.remake(sequence, shlex.quote)
            failures.append(f"--- INSTAR_CHANGES_SEED={seed} INSTAR_CHANGES_FIRST={index}\n{made}\n{wrong}")
            print(failures[-1], flush=True)
            if len(failures) >= number("INSTAR_CHANGES_FAILURES", MOST_FAILURES):
                break
    print(f"{done} sequences; done: {dict(sorted(acts.items()))}")
    print(f"refused by both: {dict(sorted(refused.items()))}\ndeliberate differences: {dict(excused)}")
    assert not failures, f"{len(failures)} sequences disagree:\n" + "\n".join(failures)
    assert left_out <= max(1, cases // 100)
    return acts + refused


@pytest.mark.oracle
def test_random_changes_leave_what_qemu_img_leaves(programs, tmp_path):
    run(programs, tmp_path, number("INSTAR_CHANGES_CASES", ORDINARY))


@pytest.mark.oracle
@pytest.mark.long
def test_thousands_of_random_changes_leave_what_qemu_img_leaves(programs, tmp_path):
    counts = run(programs, tmp_path, number("INSTAR_CHANGES_CASES", LONG))
    if "INSTAR_CHANGES_CASES" not in os.environ and "INSTAR_CHANGES_FORMAT" not in os.environ:
        few = {name: count for name, count in counts.items() if count < FLOOR}
        assert not few, f"too seldom: {few}"


@pytest.mark.oracle
@pytest.mark.parametrize(
    ("words", "out"),
    [
        (("resize", "-f", "qcow2", "top", "2M"), b"Image resized.\n"),
        (("convert", "-n", "-f", "raw", "-O", "qcow2", "noise", "top"), b""),
        (("snapshot", "-f", "qcow2", "-c", "s", "top"), b""),
        (("bitmap", "-f", "qcow2", "--add", "top", "b"), b""),
    ],
)
def test_what_is_only_said_to_be_done_is_found(programs, tmp_path, monkeypatch, words, out):
    pytest.importorskip("instar_qcow2", reason="instar-qcow2 is not installed")
    made = (histories.Step("img", ("create", "-q", "-f", "qcow2", "top", "1M"), True),)
    act = sequences.Act(f"qcow2 {words[0]}", "img", words)
    sequence = sequences.Sequence(0, 0, "qcow2", made, (act,), (("top", "qcow2"),))
    assert twins.Twins(programs, tmp_path / "done").run(sequence) == ""
    monkeypatch.setattr(twins, "here", lambda words, folder: differential.Answer(0, out, b""))
    assert "differ" in twins.Twins(programs, tmp_path / "said").run(sequence)


def test_the_same_bytes_have_the_same_digest_whichever_are_holes(tmp_path):
    one, other = tmp_path / "one", tmp_path / "other"
    data = bytes(100_000) + b"x" + bytes(99_999)
    one.write_bytes(data)
    with open(other, "wb") as file:
        file.truncate(len(data))
        os.pwrite(file.fileno(), b"x", 100_000)
    assert looks.digest(one) == looks.digest(other)
    seen = {looks.digest(one)}
    for changed in (data[:-1], data + b"\0", data[1:] + b"\0", bytes(len(data))):
        one.write_bytes(changed)
        seen.add(looks.digest(one))
    assert len(seen) == 5


@pytest.mark.oracle
def test_compressed_content_is_written_over_what_is_there(programs, tmp_path):
    """quirk("convert-compressed-again")"""
    pytest.importorskip("instar_qcow2", reason="instar-qcow2 is not installed")
    (tmp_path / "source").write_bytes(b"new" * 43690 + b"ab")
    differential.foreign(programs.img, ["create", "-q", "-f", "qcow2", "top", "128k"], tmp_path)
    differential.foreign(programs.io, ["-f", "qcow2", "-c", "write -P 5 0 128k", "top"], tmp_path)
    shutil.copy(tmp_path / "top", tmp_path / "twin")
    words = ("convert", "-n", "-c", "-f", "raw", "-O", "qcow2", "source")
    want = differential.foreign(programs.img, [*words, "twin"], tmp_path)
    have = differential.ours([*words, "top"], tmp_path)
    act = sequences.Act("qcow2 convert -n", "img", (*words, "top"))
    assert rules.find(act, want, have) == "convert-compressed-again"
    assert not rules.find(act._replace(words=tuple(word for word in act.words if word != "-c")), want, have)
    assert not rules.find(act, have, have)
    same = differential.foreign(programs.img, ["compare", "-f", "qcow2", "-F", "raw", "top", "source"], tmp_path)
    assert same.code == 0
    assert differential.foreign(programs.img, ["check", "-f", "qcow2", "top"], tmp_path).code == 0


@pytest.mark.oracle
def test_a_last_part_is_compressed_into_a_longer_disk(programs, tmp_path):
    pytest.importorskip("instar_qcow", reason="instar-qcow is not installed")
    (tmp_path / "source").write_bytes(b"ab" * 96768)
    differential.foreign(programs.img, ["create", "-q", "-f", "qcow", "top", "230k"], tmp_path)
    shutil.copy(tmp_path / "top", tmp_path / "twin")
    words = ("convert", "-n", "-c", "-f", "raw", "-O", "qcow", "source")
    want = differential.foreign(programs.img, [*words, "twin"], tmp_path)
    have = differential.ours([*words, "top"], tmp_path)
    assert rules.find(sequences.Act("qcow convert", "img", (*words, "top")), want, have) == "convert-compressed-again"
    same = differential.foreign(programs.img, ["compare", "-f", "qcow", "-F", "raw", "top", "source"], tmp_path)
    assert same.code == 0


@pytest.mark.oracle
def test_zeros_beside_content_are_stored_by_the_cluster(programs, tmp_path):
    """quirk("which-zeros-are-stored")"""
    pytest.importorskip("instar_qcow2", reason="instar-qcow2 is not installed")
    (tmp_path / "source").write_bytes((bytes(72 << 10) + b"data" * 1024).ljust(256 << 10, b"\0"))
    made = ["create", "-q", "-f", "qcow2", "-o", "extended_l2=on,cluster_size=64k", "top", "256k"]
    differential.foreign(programs.img, made, tmp_path)
    for at in range(0, 256, 64):
        differential.foreign(programs.io, ["-f", "qcow2", "-c", f"write -c -P 5 {at}k 64k", "top"], tmp_path)
    shutil.copy(tmp_path / "top", tmp_path / "twin")
    words = ["convert", "-n", "-f", "raw", "-O", "qcow2", "source"]
    assert differential.foreign(programs.img, [*words, "twin"], tmp_path).code == 0
    assert differential.ours([*words, "top"], tmp_path).code == 0
    same = differential.foreign(programs.img, ["compare", "-f", "qcow2", "-F", "raw", "top", "source"], tmp_path)
    assert same.code == 0
    maps = [
        json.loads(differential.foreign(programs.img, ["map", "--output=json", name], tmp_path).out)
        for name in ("twin", "top")
    ]
    parts = [[(one["start"], one["length"]) for one in told if one["data"]] for told in maps]
    assert parts == [[(0, 76 << 10)], [(64 << 10, 64 << 10)]]
    assert twins.held(maps[1], 64 << 10) <= twins.held(maps[0], 64 << 10)


@pytest.mark.oracle
def test_a_vmdk_chain_is_read_after_a_commit(programs, tmp_path):
    """quirk("vmdk-commit-breaks-the-chain")"""
    pytest.importorskip("instar_vmdk", reason="instar-vmdk is not installed")
    for folder in ("theirs", "ours"):
        (tmp_path / folder).mkdir()
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    differential.foreign(programs.img, ["create", "-q", "-f", "vmdk", "base", "1M"], ours)
    differential.foreign(programs.io, ["-f", "vmdk", "-c", "write -P 6 512k 64k", "base"], ours)
    words = ["create", "-q", "-f", "vmdk", "-b", "base", "-F", "vmdk", "top"]
    assert differential.foreign(programs.img, words, ours).code == 0
    differential.foreign(programs.io, ["-f", "vmdk", "-c", "write -P 5 64k 100k", "top"], ours)
    for name in ("base", "top"):
        shutil.copy(ours / name, theirs / name)
    assert differential.foreign(programs.img, ["commit", "-q", "-f", "vmdk", "top"], theirs).code == 0
    have = differential.ours(["commit", "-q", "-f", "vmdk", "top"], ours)
    assert (have.code, have.err) == (0, b"")
    read = ["-r", "-f", "vmdk", "-c", "read -P 5 64k 100k", "-c", "read -P 6 512k 64k", "-c", "read 0 1M", "top"]
    want, have = (differential.foreign(programs.io, read, folder) for folder in (theirs, ours))
    assert b"read failed: Invalid argument" in want.out + want.err
    assert b"failed" not in have.out + have.err


@pytest.mark.oracle
@pytest.mark.parametrize("format", ["qcow2", "qed", "qcow"])
def test_zeros_of_an_image_stay_zeros_over_its_first_backing_file(programs, tmp_path, format):
    """quirk("rebase-uncovers-nothing")"""
    pytest.importorskip(f"instar_{format}", reason=f"instar-{format} is not installed")
    (tmp_path / "new").write_bytes(b"new!" * 25000)
    options = ["-o", "compat=0.10"] if format == "qcow2" else []
    differential.foreign(programs.img, ["create", "-q", "-f", format, *options, "top", "100000"], tmp_path)
    differential.foreign(programs.io, ["-f", format, "-c", "write -P 3 64k 1k", "top"], tmp_path)
    shutil.copy(tmp_path / "top", tmp_path / "twin")
    read = ("convert", "-f", format, "-O", "raw")
    assert differential.foreign(programs.img, [*read, "top", "before"], tmp_path).code == 0
    words = ("rebase", "-f", format, "-b", "new", "-F", "raw")
    # Under the name of qemu-img what that cannot rebase is refused.
    done = differential.ours([*words, "top"], tmp_path) if format != "qcow" else own(tmp_path, *words, "top")
    assert (done.code, done.err) == (0, b"")
    assert differential.foreign(programs.img, [*read, "top", "after"], tmp_path).code == 0
    before = (tmp_path / "before").read_bytes()
    assert (tmp_path / "after").read_bytes() == before
    if format == "qcow2":
        assert differential.foreign(programs.img, [*words, "twin"], tmp_path).code == 0
        assert differential.foreign(programs.img, [*read, "twin", "after"], tmp_path).code == 0
        assert (tmp_path / "after").read_bytes() != before


@pytest.mark.oracle
@pytest.mark.parametrize("mode", ["leaks", "all"])
def test_a_repair_of_a_sound_image_with_bitmaps_keeps_its_snapshots(programs, tmp_path, mode):
    """quirk("repair-keeps-snapshots")"""
    pytest.importorskip("instar_qcow2", reason="instar-qcow2 is not installed")
    for words in (["create", "-q", "-f", "qcow2", "top", "1M"], ["snapshot", "-c", "s", "top"]):
        assert differential.foreign(programs.img, words, tmp_path).code == 0
    assert differential.foreign(programs.img, ["bitmap", "-f", "qcow2", "--add", "top", "b"], tmp_path).code == 0
    before = (tmp_path / "top").read_bytes()
    words = ("check", "-f", "qcow2", "-r", mode, "top")
    have = differential.ours(list(words), tmp_path)
    assert (tmp_path / "top").read_bytes() == before
    want = differential.foreign(programs.img, list(words), tmp_path)
    act = sequences.Act("qcow2 check -r", "img", words)
    assert rules.find(act, want, have) == "repair-keeps-snapshots"
    assert not rules.find(act, have, have)
    assert b" s " not in differential.foreign(programs.img, ["snapshot", "-l", "top"], tmp_path).out


def own(folder, *words):
    """instar under its own name."""
    command = "import sys; from instar_core.cli.main import main; sys.exit(main(['instar', *sys.argv[1:]]))"
    return differential.foreign(
        sys.executable, ["-c", command, *words, "--unsafe-quirks", "--image-policy=qemu"], folder
    )


def test_what_is_excused_in_changes_is_a_known_quirk():
    known = tomllib.loads(Path(__file__).parents[1].joinpath("docs", "quirks.toml").read_text())
    excused = {
        rules.ZEROS,
        *rules.KEEP_OURS,
        *rules.EXCUSES,
        *rules.KEPT.values(),
        *rules.UNREADABLE.values(),
    }
    assert excused <= {entry["name"] for entry in known["quirk"]}


def test_sequences_are_the_same_for_the_same_seed_and_all_distinct():
    made = [sequences.sequence(SEED, number) for number in range(LONG // 5)]
    assert made[:50] == [sequences.sequence(SEED, number) for number in range(50)]
    assert len({(each.made, each.acts) for each in made}) == len(made)
    assert {each.format for each in made} == set(sequences.FORMATS)
