"""Foreign programs that answers are compared with, and when not to compare.

qemu-img changed what it prints up to version 10, so an older one proves nothing about the answers of a newer. A
conftest that calls `skip_where_old` skips what is marked `oracle` there, and says why.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

if TYPE_CHECKING:
    from collections.abc import Sequence

OLDEST = (10, 0)
"""The first qemu-img whose answers are those of 11.1, but for its command line."""


def qemu_img() -> str | None:
    """The qemu-img to compare with: INSTAR_QEMU_IMG, or the one on PATH."""
    return os.environ.get("INSTAR_QEMU_IMG") or shutil.which("qemu-img")


def too_old() -> str:
    """Why the qemu-img that is here is not to be compared with; empty where nothing speaks against it, or none is."""
    program = qemu_img()
    if program is None:
        return ""
    told = subprocess.run([program, "--version"], capture_output=True, text=True, check=False).stdout
    found = re.match(r"qemu-img version (\d+)\.(\d+)[\d.]*", told)
    if not found or (int(found[1]), int(found[2])) >= OLDEST:
        return ""
    return f"{found[0]} is older than {OLDEST[0]}.{OLDEST[1]}, whose answers are compared with"


def skip_where_old(items: Sequence[pytest.Item], folder: Path) -> None:
    """Of the collected tests, those below the folder that are marked oracle are skipped if qemu-img is too old."""
    own = [item for item in items if folder in item.path.parents and item.get_closest_marker("oracle")]
    reason = too_old() if own else ""
    if reason:
        for item in own:
            item.add_marker(pytest.mark.skip(reason=reason))


class Programs:
    """Foreign programs that judge one format; asking for one that is missing skips the test."""

    format: ClassVar[str] = ""
    """Name of the format, as qemu-img has it."""

    def __init__(self) -> None:
        self.known: dict[str, str] = {}

    def find(self, name: str, variable: str | None = None) -> str:
        """The program that the environment variable names, or the one on PATH."""
        found = (variable and os.environ.get(variable)) or shutil.which(name)
        if not found:
            pytest.skip(f"{name} is not installed")
        return found

    def run(self, *command: object, check: bool = True) -> subprocess.CompletedProcess[bytes]:
        """What came of the command; a failure fails the test unless it is looked for."""
        done = subprocess.run([str(word) for word in command], capture_output=True, check=False)
        if check and done.returncode:
            pytest.fail(f"{command}: {done.stderr.decode(errors='replace')}")
        return done

    def qemu(self, name: str = "qemu-img") -> str:
        """The program, once it has said that it is QEMU's: another that answers to its name proves nothing."""
        if name not in self.known:
            found = self.find(name, {"qemu-img": "INSTAR_QEMU_IMG", "qemu-io": "INSTAR_QEMU_IO"}[name])
            if b"QEMU Project" not in self.run(found, "--version").stdout:
                pytest.skip(f"{found} is not a program of QEMU")
            self.known[name] = found
        return self.known[name]

    def img(self, *arguments: object, check: bool = True) -> subprocess.CompletedProcess[bytes]:
        """qemu-img, called with these words."""
        return self.run(self.qemu("qemu-img"), *arguments, check=check)

    def answer(self, verb: str, path: object, *more: object, check: bool = True) -> Any:
        """What a verb of qemu-img says of an image, read from its JSON."""
        return json.loads(self.img(verb, "-f", self.format, *more, "--output=json", path, check=check).stdout)

    def content(self, path: str | os.PathLike[str]) -> bytes:
        """The disk as qemu-img converts it."""
        target = Path(path).with_name("converted.raw")
        self.img("convert", "-f", self.format, "-O", "raw", path, target)
        return target.read_bytes()
