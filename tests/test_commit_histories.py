"""What images of random chains hold is committed to those below them: qemu-img says that nothing is lost."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from instar_core.errors import ErrorKind, InstarError
from instar_core.operations.commit import commit
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


def one(folder: Path, seed: int, bases: list[str]) -> None:
    """One image, committed."""
    chance = random.Random(seed)
    count = chance.randrange(1, 4)
    formats = [chance.choice(bases)]
    formats += [chance.choice(histories.installed("qcow2", "qcow2", "qed")) for _ in range(count)]
    made = histories.chain(folder, chance, "image", formats)
    top, sizes = made[-1], [histories.virtual(image) for image in made]
    number = chance.randrange(count)
    direct = number == count - 1 and chance.random() < 0.7
    drop = chance.random() < 0.5
    base = made[number]
    before = histories.content(top, folder / "before")
    was = histories.content(base, folder / "was")
    try:
        commit(str(top.path), base=None if direct else base.path.name, drop=drop, settings=QEMU)
    except InstarError as error:
        if error.kind != ErrorKind.UNSUPPORTED or sizes[number] >= sizes[-1]:
            raise
        assert histories.content(top, folder / "again") == before, "nothing is lost"
        assert histories.content(base, folder / "after") == was
        return
    after = histories.content(base, folder / "after")
    assert histories.virtual(base) >= max(sizes[-1], sizes[number])
    assert after[: len(before)] == before, "the base image reads as the top one did"
    assert after[len(before) : len(was)] == was[len(before) :], "past its end the base image is as it was"
    assert histories.content(top, folder / "again") == before, "the top image reads as before"
    for image in made:
        histories.sound(image)
    if direct and not drop and top.format == "qcow2":
        assert _own(top) == 0, "the top image is empty"


def _own(image: Made) -> int:
    text = histories.run(histories.QEMU_IMG, "map", "--output=json", "-f", image.format, image.path)
    return text.count('"depth": 0, "present": true')


@pytest.mark.parametrize("seed", range(14))
def test_what_an_image_holds_is_in_the_one_below_it(tmp_path: Path, seed: int) -> None:
    one(tmp_path, seed, histories.writable("raw", "qcow2", "qcow2", "qed", "vmdk", "vpc", "vhdx", "vdi"))
