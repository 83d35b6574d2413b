"""Images in the current folder that qemu-img and qemu-io make, and what these find in them."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from instar_core.testing import foreign

QEMU_IMG = foreign.qemu_img() or ""
QEMU_IO = os.environ.get("INSTAR_QEMU_IO") or shutil.which("qemu-io") or ""
MISSING = "qemu-img and qemu-io are needed, which make the images and judge them"
needed = pytest.mark.skipif(not (QEMU_IMG and QEMU_IO), reason=MISSING)
TIME = 60
MIB = 1 << 20


def at_least(oldest: tuple[int, int]) -> tuple[str, str]:
    """Where qemu-img and qemu-io are. Skips the test where one is missing, not of QEMU, or older than this version."""
    for name, path in (("qemu-img", QEMU_IMG), ("qemu-io", QEMU_IO)):
        if not path:
            pytest.skip(f"{name} is not installed")
        said = subprocess.run([path, "--version"], capture_output=True, text=True, check=False).stdout.split()
        if said[:2] != [name, "version"] or tuple(map(int, said[2].split(".")[:2])) < oldest:
            pytest.skip(f"{path} is not {name} {oldest[0]}.{oldest[1]} or newer, whose answers are compared with")
    return QEMU_IMG, QEMU_IO


def run(*words: str | Path) -> str:
    """What a program prints that must succeed."""
    done = subprocess.run(list(map(str, words)), capture_output=True, text=True, check=False, timeout=TIME)
    assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
    return done.stdout


def img(*words: str) -> str:
    """What qemu-img prints."""
    return run(QEMU_IMG, *words)


def io(name: str, *commands: str, format: str = "qcow2") -> None:
    """qemu-io did what it was told with an image."""
    run(QEMU_IO, "-f", format, *(word for each in commands for word in ("-c", each)), name)


def made(name: str, *commands: str, below: str = "", size: int = MIB, options: str = "", format: str = "qcow2") -> None:
    """An image to which qemu-io wrote. What lies below is qcow2, or what its suffix says."""
    words = ["create", "-q", "-f", format, *(["-o", options] if options else [])]
    over = ["-b", below, "-F", below.rpartition(".")[2] if "." in below else "qcow2"] if below else []
    img(*words, *over, name, str(size))
    if commands:
        io(name, *commands, format=format)


def content(name: str, *words: str) -> bytes:
    """The disk of an image as qemu-img reads it."""
    img("convert", *words, "-O", "raw", name, "read.raw")
    return Path("read.raw").read_bytes()


def sound(*names: str) -> None:
    """qemu-img finds nothing wrong with the images, and nothing leaked."""
    for name in names:
        assert "No errors" in img("check", name)
