"""The platforms' own code, with instar on PATH as qemu-img, and the same calls with the real one."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from instar_core.testing.foreign import Programs

PROGRAMS = Programs()
SHIM = "import sys\nfrom instar_core.cli.main import command\n\ncommand()\n"
Both = Callable[..., list[Any]]


@pytest.fixture
def real() -> Path:
    """The real qemu-img."""
    found = Path(PROGRAMS.qemu())
    if found.name != "qemu-img":
        pytest.skip("the real qemu-img has another name")
    return found


@pytest.fixture
def img(real: Path) -> Callable[[str], bytes]:
    """Calls the real qemu-img."""
    return lambda line: PROGRAMS.run(real, *shlex.split(line)).stdout


@pytest.fixture
def disk(tmp_path: Path, img: Callable[[str], bytes], monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two folders, here and there, with the same images; and the path of a disk as raw."""
    image = bytearray(4 << 20)
    image[446:462] = bytes.fromhex("80000201830000000800000000180000")
    image[510:512] = b"\x55\xaa"
    image[1 << 20 : (1 << 20) + 70000] = b"content." * 8750
    (tmp_path / "disk.raw").write_bytes(image)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    Path("disk.raw").write_bytes(image)
    for format in ("qcow2", "vmdk", "vpc", "vhdx", "vdi"):
        img(f"convert -f raw -O {format} disk.raw disk.{format}")
    img("convert -f raw -O vmdk -o subformat=streamOptimized disk.raw stream.vmdk")
    img("create -q -f qcow2 -b disk.qcow2 -F qcow2 top.qcow2")
    Path("passphrase").write_bytes(b"secret")
    PROGRAMS.run("cp", "-a", tmp_path / "here", tmp_path / "there")
    return tmp_path / "disk.raw"


@pytest.fixture
def both(tmp_path: Path, real: Path, disk: Path, monkeypatch: pytest.MonkeyPatch) -> Both:
    """The outcomes of a call, in the folder `here` with instar as qemu-img, in `there` with the real one.

    An exception is an outcome: its class and whether qemu-img's standard error was told.
    """
    shim = tmp_path / "bin"
    shim.mkdir()
    program = shim / "qemu-img"
    program.write_text(f"#!{sys.executable}\n{SHIM}")
    program.chmod(0o755)
    for name in list(os.environ):
        if name.startswith("INSTAR_") and name not in ("INSTAR_QEMU_IMG", "INSTAR_QEMU_IO", "INSTAR_TEST_MASK"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "none"))
    monkeypatch.setenv("LC_ALL", "C")
    path = os.environ["PATH"]

    def call(function: Callable[..., Any]) -> list[Any]:
        outcomes = []
        for folder, first in (("here", shim), ("there", real.parent)):
            monkeypatch.chdir(tmp_path / folder)
            monkeypatch.setenv("PATH", f"{first}:{path}")
            try:
                outcomes.append(function(tmp_path / folder))
            except Exception as error:
                text = str(error).replace(str(tmp_path / folder), "DIR").replace(str(first), "BIN")
                outcomes.append((type(error).__name__, text))
        monkeypatch.setenv("PATH", path)
        return outcomes

    return call


@pytest.fixture
def same(real: Path, tmp_path: Path) -> Callable[..., None]:
    """Fails unless the images of that name in both folders hold the same."""

    def check(name: str, *options: str) -> None:
        words = [real, "compare", *options, str(tmp_path / "here" / name), str(tmp_path / "there" / name)]
        done = subprocess.run(words, capture_output=True, check=False)
        assert done.stdout == b"Images are identical.\n", done

    return check
