"""On a file system that can, a converted image shares its extents with what it was made from."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import instar_core
from instar_core import registry
from instar_core.cli.main import main

MIB = 1 << 20
SIZE = 64 * MIB
DATA = 40 * MIB
UNTRIED = 4 * MIB
"""Bytes that are read before it is known that they could have been shared."""


@pytest.fixture(params=["xfs", "btrfs"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """The root of a new file system that can share extents, with a raw disk `source` of which DATA bytes are data, and
    a MiB in these zeros that were written."""
    kind = request.param
    if os.geteuid() or not shutil.which(f"mkfs.{kind}") or not shutil.which("filefrag"):
        pytest.skip(f"only root can mount a file system, with mkfs.{kind}, and filefrag must tell what is shared")
    image, root = tmp_path / "image", tmp_path / "root"
    root.mkdir()
    with image.open("wb") as file:
        file.truncate(768 * MIB)
    subprocess.run([f"mkfs.{kind}", "-q", str(image)], check=True, capture_output=True)
    done = subprocess.run(["mount", "-o", "loop", str(image), str(root)], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no {kind} file system can be mounted here: {done.stderr.strip()}")
    try:
        content = bytearray(random.Random(7).randbytes(DATA))
        content[30 * MIB : 31 * MIB] = bytes(MIB)
        with (root / "source").open("wb") as file:
            file.write(content)
            file.truncate(SIZE)
        yield root
    finally:
        subprocess.run(["umount", str(root)], check=True)


def shared(path: Path) -> int:
    """The bytes of a file that other files hold too."""
    os.sync()
    lines = subprocess.run(["filefrag", "-v", "-b4096", str(path)], capture_output=True, text=True, check=True).stdout
    return sum(int(line.split(":")[3]) << 12 for line in lines.splitlines() if "shared" in line)


def quirk(name: str) -> list[str]:
    """The words that restore qemu-img's way, as the list says."""
    listed = tomllib.loads(Path(__file__).parents[1].joinpath("docs", "quirks.toml").read_text())["quirk"]
    return next(str(each["switch"]).split() for each in listed if each["name"] == name)


def convert(place: Path, source: str, target: str, **how: object) -> Path:
    formats = {"source_format": source.partition(".")[2] or "raw", "target_format": target.partition(".")[2] or "raw"}
    instar_core.convert([str(place / source)], str(place / target), **formats, **how)  # type: ignore[arg-type]
    return place / target


@pytest.mark.parametrize("kind", ["raw", "qcow2", "vhdx", "vdi"])
def test_a_new_image_and_what_is_made_of_it_share_extents_where_the_format_has_them_aligned(
    place: Path, kind: str
) -> None:
    if kind not in registry.entries():
        pytest.skip(f"{kind} is not installed")
    there = convert(place, "source", f"there.{kind}")
    back = convert(place, f"there.{kind}", "back")
    assert back.read_bytes() == (place / "source").read_bytes()
    if kind != "vdi":  # which begins its blocks where no block of a file system begins
        assert shared(there) >= DATA - UNTRIED
        assert shared(back) >= DATA - UNTRIED - MIB
    if kind == "raw":
        assert there.stat().st_blocks * 512 < SIZE


def test_asked_to_look_for_zeros_convert_leaves_them_out_and_shares_nothing(place: Path) -> None:
    target = place / "target"
    words = ["-f", "raw", "-O", "raw", *quirk("shared-extents")]
    assert main(["qemu-img", "convert", *words, str(place / "source"), str(target)]) == 0
    assert target.read_bytes() == (place / "source").read_bytes()
    assert not shared(target)
    assert target.stat().st_blocks * 512 <= DATA


def test_an_image_whose_room_was_ordered_beforehand_keeps_it_to_itself(place: Path) -> None:
    target = convert(place, "source", "target", options={"preallocation": "falloc"})
    assert target.read_bytes() == (place / "source").read_bytes()
    assert not shared(target)


def test_what_cannot_be_shared_is_looked_through_for_zeros(place: Path, tmp_path: Path) -> None:
    target = tmp_path / "elsewhere"
    instar_core.convert([str(place / "source")], str(target), source_format="raw", target_format="raw")
    assert target.read_bytes() == (place / "source").read_bytes()
    assert target.stat().st_blocks * 512 <= DATA
