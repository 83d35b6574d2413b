"""How hard content is compressed: the choice reaches the encoders of new images and of those that are there."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from instar_core.cli import extras, settings_load
from instar_core.codecs import EFFORT, FAST, SMALL
from instar_core.effort import EFFORTS, compressing
from instar_core.operations.compare import compare
from instar_core.operations.convert import convert
from instar_core.operations.create import create
from instar_core.settings import Settings
from instar_core.types import Coding, Geometry

MIB = 1 << 20
LIKE_QEMU = [("qcow2", {"compression_type": "zlib"}), ("vmdk", {"subformat": "streamOptimized"})]

ROUNDED = 64 << 10
"""Files end with a whole cluster here, and qemu-img's where the last compressed one does."""


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A raw disk of Python's own modules, with a hole and some noise between them."""
    text = b"".join(path.read_bytes() for path in sorted(Path(os.__file__).parent.glob("*.py")))[: 4 * MIB]
    path = tmp_path_factory.mktemp("disk") / "disk.raw"
    path.write_bytes(
        text[: 2 * MIB] + bytes(MIB) + random.Random(5).randbytes(MIB // 4) + text[2 * MIB :].ljust(2 * MIB, b".")
    )
    return path


def made(disk: Path, target: Path, effort: str, format: str, options: dict[str, str]) -> int:
    convert(
        [str(disk)],
        str(target),
        source_format="raw",
        target_format=format,
        options=options,
        compress=format == "qcow2",
        settings=Settings(compression=effort),
    )
    return target.stat().st_size


@pytest.mark.parametrize(("format", "options"), LIKE_QEMU)
def test_small_is_no_larger_than_what_qemu_img_makes_and_fast_not_much(
    disk: Path, tmp_path: Path, format: str, options: dict[str, str]
) -> None:
    pytest.importorskip(f"instar_{format}", reason=f"instar-{format} is not installed")
    qemu_img = os.environ.get("INSTAR_QEMU_IMG") or shutil.which("qemu-img")
    if qemu_img is None:
        pytest.skip("needs qemu-img to compare with")
    words = ["-c", "-O", format, "-o", ",".join(f"{name}={value}" for name, value in options.items())]
    theirs = tmp_path / "theirs"
    subprocess.run([qemu_img, "convert", "-f", "raw", *words, str(disk), str(theirs)], check=True)
    small = made(disk, tmp_path / "small", SMALL, format, options)
    fast = made(disk, tmp_path / "fast", FAST, format, options)
    assert small <= theirs.stat().st_size + ROUNDED
    assert fast <= 1.12 * theirs.stat().st_size + ROUNDED
    for name in ("small", "fast"):
        subprocess.run([qemu_img, "compare", "-f", "raw", "-F", format, str(disk), str(tmp_path / name)], check=True)
        if format == "qcow2":
            subprocess.run([qemu_img, "check", "-q", str(tmp_path / name)], check=True)


def test_what_is_written_into_an_image_is_compressed_as_hard(disk: Path, tmp_path: Path) -> None:
    pytest.importorskip("isal", reason="all other libraries compress qcow2 as hard as qemu-img does")
    pytest.importorskip("instar_qcow2", reason="instar-qcow2 is not installed")
    sizes = {}
    for effort in EFFORTS:
        target = tmp_path / effort
        create(str(target), format="qcow2", size=disk.stat().st_size)
        convert(
            [str(disk)],
            str(target),
            source_format="raw",
            target_format="qcow2",
            compress=True,
            create=False,
            settings=Settings(compression=effort),
        )
        assert compare(str(disk), str(target), first_format="raw", second_format="qcow2").identical
        sizes[effort] = target.stat().st_size
    assert sizes[SMALL] < sizes[FAST]


def test_only_a_coding_is_told_of_the_effort_and_it_keeps_its_params() -> None:
    plain = Geometry(65536, MIB)
    coded = plain._replace(coding=Coding("zlib", 65536, params={"level": 4}))
    assert compressing(plain, SMALL) == plain
    assert compressing(coded, FAST) == coded
    told = compressing(coded, SMALL).coding
    assert told is not None
    assert told == Coding("zlib", 65536, params={"level": 4, EFFORT: SMALL})


def test_the_choice_is_a_setting_like_others(tmp_path: Path) -> None:
    file = tmp_path / "instar.toml"
    file.write_text('compression = "small"\n')

    def loaded(flags: dict[str, Any], **environment: str) -> str:
        held = settings_load.load(flags, environment=environment, system=str(file), root=True)
        return settings_load.settings(held).compression

    assert Settings().compression == FAST
    assert loaded({}) == SMALL
    assert loaded({}, INSTAR_COMPRESSION="fast") == FAST
    assert loaded({"compression": "small"}, INSTAR_COMPRESSION="fast") == SMALL
    assert extras.EFFORTS == EFFORTS
    with pytest.raises(ValueError, match="expects fast or small, not 'best'"):
        extras.compression("best")
