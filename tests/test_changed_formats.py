"""Small random histories of disks that change in place: content and size here, content by qemu-io in between.

After every step qemu-img, and a check, find what should be there. INSTAR_SEED chooses other histories.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from instar_core import disk as disks
from instar_core.changing import Changing
from instar_core.errors import InstarError
from instar_core.operations.check import check
from instar_core.operations.resize import resize
from instar_core.piece import Piece
from instar_core.settings import Settings

SEED = int(os.environ.get("INSTAR_SEED", "20261121"))
INLINE = Settings(sandbox="inline", policy="qemu", unsafe_quirks=True)
NOISE = 1 << 20
KINDS = (
    ("vpc", "subformat=dynamic,force_size=on"),
    ("vpc", "subformat=dynamic"),
    ("vpc", "subformat=fixed,force_size=on"),
    ("vpc", "subformat=fixed"),
    ("vhdx", "subformat=dynamic,block_size=1M"),
    ("vhdx", "subformat=fixed,block_size=1M"),
    ("vhdx", "subformat=dynamic,block_size=2M,block_state_zero=off"),
    ("vmdk", "subformat=monolithicSparse"),
    ("vmdk", "subformat=monolithicSparse,zeroed_grain=on"),
    ("vmdk", "subformat=monolithicFlat"),
    ("vmdk", "subformat=twoGbMaxExtentSparse"),
    ("vmdk", "subformat=twoGbMaxExtentFlat"),
)


def program(name: str, *words: object) -> bytes:
    path = os.environ.get("INSTAR_" + name.upper().replace("-", "_")) or shutil.which(name)
    if not path:
        pytest.skip(f"{name} is not installed")
    return subprocess.run([path, *map(str, words)], check=True, capture_output=True).stdout


class Disk:
    """An image, and the content that it should have."""

    def __init__(self, folder: Path, format: str, options: str, random: Random) -> None:
        self.path, self.format, self.random = folder / f"disk.{format}", format, random
        self.noise = folder / "noise"
        self.noise.write_bytes(random.randbytes(NOISE))
        program("qemu-img", "create", "-q", "-f", format, "-o", options, self.path, 512 * random.randint(2000, 14000))
        self.wanted = bytearray(self.content())
        self.story = [f"{options} {len(self.wanted)}"]

    def content(self) -> bytes:
        with disks.open(str(self.path), format=self.format, settings=INLINE) as disk:
            return disk.pread(disk.size, 0)

    def resized(self) -> None:
        near = self.random.random() < 0.3
        size = len(self.wanted) + 512 * self.random.randint(-20, 20) if near else 512 * self.random.randint(1, 24000)
        size = max(512, size)
        self.story.append(f"resize {size}")
        try:
            resize(str(self.path), size, shrink=True, format=self.format, settings=INLINE)
        except InstarError as error:
            assert "more than one sector" in str(error)  # of a descriptor that is a file of its own
            return
        self.wanted = self.wanted[:size].ljust(size, b"\0")

    def written(self) -> None:
        random, size = self.random, len(self.wanted)
        source = os.open(self.noise, os.O_RDONLY)
        self.story.append("update")

        def pieces(unit: int) -> Iterator[Piece]:
            at = 0
            while at < size:
                length = min(unit * random.choice((1, 1, 3, 9)), size - at)
                what = random.random()
                if what < 0.2:
                    self.wanted[at : at + length] = bytes(length)
                    yield Piece(at, length, True)
                elif what < 0.5 and length <= NOISE:
                    place = random.randrange(0, NOISE - length + 1) // 512 * 512
                    self.wanted[at : at + length] = os.pread(source, length, place)
                    yield Piece(at, length, False, source, place)
                at += length + unit * random.randint(0, max(1, 300000 // unit))

        with Changing(str(self.path), INLINE, format=self.format) as image:
            image.update(pieces)
        os.close(source)

    def foreign(self) -> None:
        if len(self.wanted) < 100_000:
            return
        at = self.random.randrange(len(self.wanted) - 70_000) // 512 * 512
        self.story.append(f"qemu-io at {at}")
        program("qemu-io", "-f", self.format, "-c", f"write -P 77 {at} 50k", self.path)
        self.wanted[at : at + 51200] = b"\x4d" * 51200

    def judged(self) -> None:
        told, wanted = f"INSTAR_SEED={SEED} {self.story}", bytes(self.wanted)
        assert self.content() == wanted, told
        out = self.path.with_name("out")
        program("qemu-img", "convert", "-f", self.format, "-O", "raw", self.path, out)
        have = out.read_bytes()
        assert have == wanted.ljust(len(have), b"\0"), told
        if self.format != "vpc":
            program("qemu-img", "check", "-f", self.format, self.path)
        found = check(str(self.path), format=self.format, settings=INLINE)
        assert not found.findings, (told, found.findings)


@pytest.mark.oracle
@pytest.mark.parametrize("kind", KINDS, ids="-".join)
def test_a_disk_that_changes_holds_what_was_written(kind, tmp_path):
    if importlib.util.find_spec(f"instar_{kind[0]}") is None:
        pytest.skip(f"instar-{kind[0]} is not installed")
    random = Random(f"{SEED} {kind}")
    disk = Disk(tmp_path, *kind, random)
    for _ in range(6):
        random.choice((disk.resized, disk.written, disk.written, disk.foreign))()
        disk.judged()
