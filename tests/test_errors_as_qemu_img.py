"""Errors are told as qemu-img tells them: errors.toml lists command lines, exit codes and standard error.

instar is held against the table everywhere, under both of its names; the table is held against qemu-img where a new one
is installed.
"""

from __future__ import annotations

import fcntl
import os
import re
import shlex
import shutil
import struct
import subprocess
import tomllib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from instar_core import registry
from instar_core.testing.foreign import Programs

TABLE = tomllib.loads((Path(__file__).parent / "errors.toml").read_text())
CASES = [case for section in TABLE["section"] for case in section["errors"]]
OF_FORMATS = ("qcow2", "vmdk", "vhdx", "vpc", "vdi", "qed", "qcow", "parallels", "luks", "dmg", "bochs", "cloop")
EVERY = 5
"""One in so many of the cases that need images is tried under the other name too, which changes the prefix only."""
PROGRAMS = Programs()
OPEN_FILE_LOCK = getattr(fcntl, "F_OFD_SETLK", 37)
Call = Callable[..., tuple[int, str, str]]


def told(case: dict[str, Any]) -> tuple[int, list[str]]:
    """The exit code and the lines that the table has, under the name qemu-img."""
    lines = list(case["says"])
    if case.get("usage"):
        verb = next((f"{word} " for word in case["line"].split()[:1] if word.isalpha() and word != "foo"), "")
        lines.append(f"Try 'qemu-img {verb}--help' for more information")
    return case.get("rc", 1), lines


def needs(case: dict[str, Any]) -> set[str]:
    """The formats that a case speaks of."""
    text = " ".join([case["line"], *case.get("images", ()), *case.get("text", ())])
    return set(re.split(r"[^a-z0-9]+", text)) & set(OF_FORMATS)


@pytest.fixture(scope="session")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for the images that were made already, each in a folder of its own."""
    return tmp_path_factory.mktemp("errors")


@pytest.fixture
def prepare(kept: Path, instar: Call) -> Callable[[dict[str, Any], Path], None]:
    """Makes an empty folder the current one and puts into it what a case needs, damaged as the case says."""

    def made(name: str) -> Path:
        place, how = kept / name, TABLE["image"][name]
        if place.is_dir():
            return place
        place.mkdir()
        os.chdir(place)
        if how == "folder":
            (place / name).mkdir()
        elif isinstance(how, int):
            (place / name).write_bytes(bytes(how))
        else:
            for line in how:
                assert instar(*shlex.split(line)) == (0, "", ""), line
        return place

    def fill(case: dict[str, Any], folder: Path) -> None:
        for name in case.get("images", ()):
            shutil.copytree(made(name), folder, dirs_exist_ok=True)
        os.chdir(folder)
        for name, text in case.get("text", {}).items():
            (folder / name).write_text(text)
        for name, offset, code in case.get("patch", ()):
            with open(folder / name, "r+b") as file:
                file.seek(offset)
                file.write(bytes.fromhex(code))
        for name in case.get("gone", ()):
            (folder / name).unlink()

    return fill


@contextmanager
def held(case: dict[str, Any]) -> Iterator[None]:
    """The locks that another program would have on the case's image."""
    if "held" not in case:
        yield
        return
    name, numbers = case["held"]
    descriptor = os.open(name, os.O_RDWR)
    try:
        for number in numbers:
            lock = struct.pack("hhqqi4x", fcntl.F_RDLCK, os.SEEK_SET, number, 1, 0)
            fcntl.fcntl(descriptor, OPEN_FILE_LOCK, lock)
        yield
    finally:
        os.close(descriptor)


def title(case: dict[str, Any]) -> str:
    """The name of a test: the command line, and where it would say too little what was damaged."""
    words = [case["line"][:60], *(str(change) for change in case.get("patch", ())), *case.get("says", ())[:1]]
    return re.sub(r"[^A-Za-z0-9]+", "-", " ".join(words))[:140].strip("-") or "nothing"


@pytest.mark.parametrize("case", CASES, ids=title)
def test_an_error_is_told_as_qemu_img_tells_it(
    case: dict[str, Any],
    prepare: Callable[[dict[str, Any], Path], None],
    instar: Call,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    absent = needs(case) - set(registry.entries())
    if absent:
        pytest.skip(f"not installed: {', '.join(sorted(absent))}")
    monkeypatch.setenv("LC_ALL", "C")
    code, lines = told(case)
    both = not case.get("elsewhere") and (not case.get("images") or CASES.index(case) % EVERY == 0)
    for name in ("qemu-img", "instar") if both else ("qemu-img",):
        folder = tmp_path / f"called-{name}"
        folder.mkdir()
        prepare(case, folder)
        with held(case):
            have = instar(*shlex.split(case["line"]), name=name)
        want = [re.sub(r"^qemu-img\b", name, line).replace("Try 'qemu-img", f"Try '{name}") for line in lines]
        assert (have[0], have[2].splitlines()[: len(want) if case.get("more") else None]) == (code, want)


def theirs(words: Sequence[str]) -> tuple[int, list[str]]:
    done = subprocess.run(
        ["qemu-img", *words],
        executable=PROGRAMS.qemu(),
        env=dict(os.environ, LC_ALL="C"),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stderr.splitlines()


@pytest.mark.oracle
@pytest.mark.parametrize("section", TABLE["section"], ids=lambda section: section["title"].replace(" ", "-"))
def test_the_table_says_what_qemu_img_says(
    section: dict[str, Any], prepare: Callable[[dict[str, Any], Path], None], tmp_path: Path
) -> None:
    version = re.match(rb"qemu-img version (\d+)\.(\d+)", PROGRAMS.img("--version").stdout)
    if version is None or (int(version[1]), int(version[2])) < (11, 1):
        pytest.skip("the table is in the words of qemu-img 11.1")
    absent = set(OF_FORMATS) - set(registry.entries())
    if absent:
        pytest.skip(f"not installed: {', '.join(sorted(absent))}")
    differ = []
    for number, case in enumerate(section["errors"]):
        folder = tmp_path / f"case{number}"
        folder.mkdir()
        prepare(case, folder)
        with held(case):
            have = theirs(shlex.split(case["line"]))
        if have != told(case) and not (case.get("more") and have[1][: len(told(case)[1])] == told(case)[1]):
            differ.append((case["line"], case.get("patch"), have, told(case)))
    assert differ == []


def test_of_a_damaged_vhdx_it_is_told_what_is_wrong(
    prepare: Callable[[dict[str, Any], Path], None], instar: Call, tmp_path: Path
) -> None:
    """quirk("vhdx-says-why"): qemu-img says only 'Invalid argument'."""
    if "vhdx" not in registry.entries():
        pytest.skip("not installed: vhdx")
    prepare(
        {"images": ["d.vhdx"], "patch": [["d.vhdx", 0x30000, "00000000"], ["d.vhdx", 0x40000, "00000000"]]}, tmp_path
    )
    told = "qemu-img: Could not open 'd.vhdx': No valid VHDX region table found\n"
    assert instar("info", "-f", "vhdx", "d.vhdx") == (1, "", told)


def test_a_file_that_may_not_be_read_is_told_as_qemu_img_tells_it(instar: Call) -> None:
    if not os.geteuid():
        pytest.skip("root may read everything")
    Path("closed").write_bytes(bytes(512))
    Path("closed").chmod(0)
    told = "qemu-img: Could not open 'closed': Could not open 'closed': Permission denied\n"
    assert instar("info", "closed") == (1, "", told)


def test_the_table_is_long_and_lists_nothing_twice() -> None:
    seen = [(case["line"], str(case.get("patch")), str(case.get("held")), str(case.get("text"))) for case in CASES]
    assert len(set(seen)) == len(seen) >= 400
