"""Images over a parent of their own format get another parent, or none, and are emptied, while the power is cut.

qemu-img cannot do that to these formats.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from instar_core import registry
from instar_core.changing import Changing
from instar_core.piece import Piece

MIB = 1 << 20
STATES = 60


def module(name):
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
        made = importlib.util.module_from_spec(spec)
        sys.modules[name] = made
        spec.loader.exec_module(made)
    return sys.modules[name]


module("histories")
cuts = module("crash_cuts")
FORMATS = ("vpc", "vhdx", "vmdk")
OPTIONS = {"vpc": "force_size=on", "vhdx": "block_size=1M", "vmdk": "zeroed_grain=on"}


@pytest.fixture(params=FORMATS)
def format(request):
    if request.param not in registry.entries():
        pytest.skip(f"instar-{request.param} is not installed")
    return request.param


class Chain:
    """Two parents, and an image over the first of them, in a folder; parts of all differ."""

    def __init__(self, folder: Path, format: str, random: Random) -> None:
        self.folder, self.format = folder, format
        size = 512 * random.randint(5000, 9000) if format != "vhdx" else 4 * MIB
        contents = [bytearray(random.randbytes(64 << 10).ljust(size, b"\0")) for _ in range(3)]
        for number in range(6):
            at = random.randrange(size - 70000) // 512 * 512
            contents[number % 3][at : at + 65536] = random.randbytes(65536)
        for name, content in zip(("base", "other", "mine"), contents, strict=True):
            (folder / f"{name}.raw").write_bytes(content)
        self.run("convert", "-f", "raw", "-O", format, "-o", OPTIONS[format], "base.raw", "base")
        self.run("convert", "-f", "raw", "-O", format, "-o", OPTIONS[format], "other.raw", "other")
        self.run("create", "-q", "-f", format, "-b", "base", "-F", format, "disk")
        self.wanted = contents[0]
        self.update("disk", contents[2], [0, size // 2, size - 1], self.wanted)

    def update(self, name: str, content: bytes, places: list[int], told: bytearray | None = None) -> None:
        """Units of the image at these places hold this content."""
        source = os.open(self.folder / "mine.raw", os.O_RDONLY)

        def pieces(unit: int) -> Iterator[Piece]:
            for start in sorted({place // unit * unit for place in places}):
                length = min(unit, len(content) - start)
                yield Piece(start, length, False, source, start)
                if told is not None:
                    told[start : start + length] = content[start : start + length]

        with Changing(str(self.folder / name), cuts.LENIENT, format=self.format) as image:
            image.update(pieces)
        os.close(source)

    def run(self, *words: str) -> None:
        cuts.deed(self.folder, *words)()

    def content(self, name: str = "disk") -> bytes:
        return cuts.seen(self.folder, cuts.View(name, self.format), cuts.LENIENT).disk


@pytest.fixture
def chain(tmp_path, format):
    (tmp_path / "case").mkdir()
    return Chain(tmp_path / "case", format, Random(f"{format} 5"))


def judged(chain, monkeypatch, operate, views, watched=("disk",)):
    """What is wrong with states that power cuts leave; qemu-img opens no VHDX with a parent, and sees no VHD's."""
    img = shutil.which("qemu-img")
    monkeypatch.setattr(cuts, "JUDGED_BY_QEMU", frozenset({"vmdk"} if img else ()))
    monkeypatch.setattr(cuts, "READ_BY_QEMU", 0)
    case = cuts.Case(chain.folder, operate, watched, views)
    judge = cuts.Judge(case, chain.folder.parent / "state", img or "", Random(3), chain.format)
    wrong = judge.run(STATES)
    assert len(judge.digests) > 1
    return wrong


@pytest.mark.parametrize("name", ["other", "o", "over" * 40])
def test_a_rebase_that_is_cut_short_reads_the_same(chain, monkeypatch, name):
    if name != "other":
        shutil.copy(chain.folder / "other", chain.folder / name)
    operate = cuts.deed(chain.folder, "rebase", "-f", chain.format, "-b", name, "-F", chain.format, "disk")
    views = (cuts.View("disk", chain.format, cuts.SAME),)
    assert judged(chain, monkeypatch, operate, views) == []
    assert chain.content() == bytes(chain.wanted)


def test_a_flattening_that_is_cut_short_reads_the_same(chain, monkeypatch):
    operate = cuts.deed(chain.folder, "rebase", "-f", chain.format, "-b", "", "disk")
    assert judged(chain, monkeypatch, operate, (cuts.View("disk", chain.format, cuts.SAME),)) == []
    (chain.folder / "base").unlink()
    assert chain.content() == bytes(chain.wanted)
    code, said = cuts.command(chain.folder, "check", "-f", chain.format, "disk")
    assert not code, said


def test_a_commit_that_is_cut_short_reads_the_same(chain, monkeypatch):
    operate = cuts.deed(chain.folder, "commit", "-q", "-f", chain.format, "disk")
    views = (cuts.View("disk", chain.format, cuts.SAME), cuts.View("base", chain.format, cuts.ANY))
    assert judged(chain, monkeypatch, operate, views, ("disk", "base")) == []
    wanted = bytes(chain.wanted)
    assert chain.content() == chain.content("base") == wanted
    assert (chain.folder / "disk").stat().st_size < MIB * (7 if chain.format == "vhdx" else 1)


def test_an_image_without_a_parent_gets_none(chain):
    code, said = cuts.command(
        chain.folder, "rebase", "-u", "-f", chain.format, "-b", "other", "-F", chain.format, "base"
    )
    assert code == 1
    assert "can have another" in said


def test_other_content_makes_children_of_a_vmdk_or_a_vhdx_strangers(chain):
    chain.update("base", (chain.folder / "mine.raw").read_bytes(), [0])
    code, said = cuts.command(chain.folder, "map", "-f", chain.format, "disk")
    assert (code, "was made for" in said) == ((0, False) if chain.format == "vpc" else (1, True)), said


@pytest.mark.oracle
def test_a_flattened_image_is_one_that_qemu_img_opens(chain):
    img = shutil.which("qemu-img")
    if not img:
        pytest.skip("qemu-img is not installed")
    chain.run("rebase", "-f", chain.format, "-b", "", "disk")
    cuts.foreign(chain.folder, img, "convert", "-f", chain.format, "-O", "raw", "disk", "read.raw")
    assert (chain.folder / "read.raw").read_bytes() == bytes(chain.wanted)


def quirk(name):
    """Marks the test that proves an entry of docs/quirks.toml."""
    return name


def test_a_disk_that_qemu_img_leaves_alone_is_resized_and_rebased_here(chain):
    assert quirk("resize-of-vm-formats")
    resize = ("resize", "-f", chain.format, "other", "20M")
    rebase = ("rebase", "-u", "-f", chain.format, "-b", "other", "-F", chain.format, "disk")
    for words, refusal in ((resize, "does not support resize"), (rebase, "Operation not supported")):
        code, said = cuts.command(chain.folder, *words, name="qemu-img")
        assert code == 1
        assert refusal in said
        code, said = cuts.command(chain.folder, *words)
        assert not code, said
