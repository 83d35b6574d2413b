"""Images of random chains are moved to other chains, and read as before: qemu-img says so."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest

from instar_core.operations.rebase import rebase
from instar_core.settings import Settings
from instar_core.testing.beside import beside

load = beside(__file__)
histories = load("chain_histories")
Made = histories.Made

pytestmark = [
    histories.needed,
    pytest.mark.skipif(not histories.installed("qcow2"), reason="instar-qcow2 is not installed"),
]

QEMU = Settings(policy="qemu", sandbox="inline")
"""Disks without a partition table as backing files: only qemu-img's own policy takes them."""


def one(folder: Path, seed: int) -> None:
    """One image, moved."""
    chance = random.Random(seed)
    tops = histories.installed("qcow2", "qcow2", "qcow2", "qed")
    first = histories.chain(folder, chance, "old", histories.formats(chance, chance.randrange(1, 4)))
    top = histories.new(folder / "top", chance.choice(tops), chance, first[-1])
    before = histories.content(top, folder / "before")
    below, words = _target(folder, chance, first)
    compress = top.format == "qcow2" and chance.random() < 0.2
    twin = Made(folder / "twin", top.format)
    shutil.copy(top.path, twin.path)
    rebase(
        str(top.path),
        below.path.name if below else "",
        backing_format=below.format if below else None,
        compress=compress,
        settings=QEMU,
    )
    # With -c qemu-img ends itself where a cluster is the image's own in part.
    histories.run(histories.QEMU_IMG, "rebase", *words, "-f", twin.format, twin.path)
    assert histories.content(top, folder / "after") == before
    histories.sound(top)
    if top.format == "qcow2":
        _same_snapshots(top, twin)
    assert _named(top) == _named(twin)


def _target(folder: Path, chance: random.Random, first: list[Made]) -> tuple[Made | None, list[str]]:
    """Where to: nowhere, an ancestor, or another chain, which may be like the old one."""
    kind = chance.randrange(4)
    if kind == 0:
        return None, ["-b", ""]
    if kind == 1:
        found = chance.choice(first)
    elif kind == 2:
        found = Made(folder / "copy", "qcow2")
        histories.run(histories.QEMU_IMG, "convert", "-f", first[-1].format, "-O", "qcow2", first[-1].path, found.path)
        histories.write(found, chance, chance.randrange(3))
    else:
        found = histories.chain(folder, chance, "new", histories.formats(chance, chance.randrange(1, 3)))[-1]
    return found, ["-b", found.path.name, "-F", found.format]


def _named(image: Made) -> list[str]:
    text = histories.run(histories.QEMU_IMG, "info", "-f", image.format, image.path)
    return [line.split(" (actual")[0] for line in text.splitlines() if line.startswith("backing file")]


def _same_snapshots(one: Made, other: Made) -> None:
    for image in (one, other):
        if "kept" in histories.run(histories.QEMU_IMG, "snapshot", "-l", image.path):
            histories.run(
                histories.QEMU_IMG, "convert", "-l", "kept", "-f", "qcow2", "-O", "raw", image.path,
                f"{image.path}.snapshot",
            )  # fmt: skip
    left, right = Path(f"{one.path}.snapshot"), Path(f"{other.path}.snapshot")
    assert left.exists() == right.exists()
    assert not left.exists() or left.read_bytes() == right.read_bytes()


@pytest.mark.parametrize("seed", range(12))
def test_an_image_on_another_chain_reads_as_before(tmp_path: Path, seed: int) -> None:
    one(tmp_path, seed)
