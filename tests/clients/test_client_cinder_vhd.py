"""Cinder's own functions for images of XenServer, with instar's vhd-util on PATH: blktap's is not needed for them."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

if "nova" in sys.modules:
    pytest.skip("cinder cannot be imported beside nova: run this file alone", allow_module_level=True)
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    pytest.importorskip("cinder", reason="cinder is not installed")
    image_utils = pytest.importorskip("cinder.image.image_utils", reason="cinder cannot be imported")
    from cinder import utils as cinder_utils
    from oslo_concurrency import processutils

pytestmark = [pytest.mark.oracle, pytest.mark.filterwarnings("ignore")]
MIB = 1 << 20
SHIM = "from instar_core.cli.vhd_util import command\n\ncommand()\n"
WRITES = [
    [(512, 512, 7), (9 * MIB, 70 * 512, 8)],
    [(0, 2048, 5), (5 * MIB - 512, 1024, 6)],
    [(0, 3 * MIB, 1)],
]
"""What is written into each disk of the chain, the topmost first: start, length, byte."""
SIZES = [12, 8, 6]


@pytest.fixture
def chain(tmp_path: Path, real: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    """Makes the files 2.vhd (by qemu-img), and 1.vhd and 0.vhd, its children, in the folder of the image."""
    shim = tmp_path / "bin"
    shim.mkdir()
    program = shim / "vhd-util"
    program.write_text(f"#!{sys.executable}\n{SHIM}")
    program.chmod(0o755)
    for name in list(os.environ):
        if name.startswith("INSTAR_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "none"))
    monkeypatch.setenv("PATH", f"{shim}:{os.environ['PATH']}")
    monkeypatch.setattr(cinder_utils, "execute", execute)
    (tmp_path / "conversion").mkdir()
    image_utils.CONF.set_override("image_conversion_dir", str(tmp_path / "conversion"))
    folder = tmp_path / "chain"
    folder.mkdir()
    monkeypatch.chdir(folder)

    def make() -> list[str]:
        for number in (2, 1, 0):
            name = f"{number}.vhd"
            if number == 2:
                subprocess.run([real, "create", "-q", "-f", "vpc", "-o", "force_size=on", name, "6M"], check=True)
            else:
                execute("vhd-util", "snapshot", "-n", name, "-p", f"{number + 1}.vhd")
                execute("vhd-util", "resize", "-n", name, "-s", str(SIZES[number]), "-f")
            write(name, WRITES[number])
        return [str(folder / f"{number}.vhd") for number in range(3)]

    return make


def execute(*words: str, run_as_root: bool = False, **more: Any) -> tuple[str, str]:
    told: tuple[str, str] = processutils.execute(*words, **more)
    return told


def write(name: str, writes: list[tuple[int, int, int]]) -> None:
    from instar_core.changing import Changing
    from instar_core.piece import Piece
    from instar_core.settings import Settings

    for start, length, value in writes:
        Path("piece").write_bytes(bytes([value]) * length)
        with open("piece", "rb") as file, Changing(name, Settings(sandbox="process"), format="vpc") as image:
            pieces = [Piece(start, length, False, file.fileno(), 0)]
            image.update(lambda _, pieces=pieces: iter(pieces))
    os.unlink("piece")


def expected() -> bytes:
    content = bytearray(SIZES[0] * MIB)
    for writes in reversed(WRITES):
        for start, length, value in writes:
            content[start : start + length] = bytes([value]) * length
    return bytes(content)


def read(real: Path, path: str | Path) -> bytes:
    subprocess.run([real, "convert", "-f", "vpc", "-O", "raw", str(path), "raw"], check=True)
    return Path("raw").read_bytes()


def test_the_functions_of_a_chain(chain: Callable[[], list[str]], real: Path, tmp_path: Path) -> None:
    paths = chain()
    assert image_utils.discover_vhd_chain(os.path.dirname(paths[0])) == paths
    image_utils.fix_vhd_chain(paths)
    assert [image_utils.get_vhd_size(path) for path in paths] == SIZES
    image_utils.resize_vhd(paths[2], 8, str(tmp_path / "journal"))
    assert image_utils.get_vhd_size(paths[2]) == 8 and not (tmp_path / "journal").exists()
    image_utils.coalesce_vhd(paths[1])
    assert image_utils.coalesce_chain(paths) == paths[2]
    assert read(real, paths[2]) == expected()


def test_an_image_of_xenserver_is_replaced_with_one_disk(
    chain: Callable[[], list[str]], real: Path, tmp_path: Path
) -> None:
    paths = chain()
    for child in paths[:2]:  # as they come from another host: each names a parent that is not there
        os.link(paths[2] if child == paths[1] else paths[1], "gone.vhd")
        execute("vhd-util", "modify", "-n", child, "-p", "gone.vhd")
        os.unlink("gone.vhd")
    image = tmp_path / "image"
    with tarfile.open(image, "w:gz") as tar:
        for path in paths:
            tar.add(path, os.path.basename(path))
    image_utils.replace_xenserver_image_with_coalesced_vhd(str(image))
    assert read(real, image) == expected()
    assert os.listdir(tmp_path / "conversion") == []


def test_a_disk_that_is_none_is_an_error_of_the_command(chain: Callable[[], list[str]], tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.write_text("x" * 1000)
    calls: list[Callable[[], Any]] = [
        lambda: image_utils.get_vhd_size(str(text)),
        lambda: image_utils.set_vhd_parent(str(text), str(text)),
        lambda: image_utils.resize_vhd(str(text), 1, str(tmp_path / "journal")),
        lambda: image_utils.coalesce_vhd(str(text)),
    ]
    for call in calls:
        with pytest.raises(processutils.ProcessExecutionError) as caught:
            call()
        assert caught.value.exit_code == 22
        assert caught.value.stderr == f"vhd-util: Could not open '{text}': invalid VPC image\n"
    assert not (tmp_path / "journal").exists()
