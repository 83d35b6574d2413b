"""The two programs that are measured, and what is to be known about them and the machine."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from bench.places import Unavailable


class Programs(NamedTuple):
    """Paths of the programs."""

    python: str
    instar: str
    drop_in: str
    qemu_img: str
    qemu_io: str


class Missing(Exception):
    """A program that the measurement needs is not there."""


def find() -> Programs:
    """The programs: instar's scripts beside this Python or on the PATH, QEMU's by environment or on the PATH.

    Python is the one that the scripts run with. Raises Missing.
    """
    instar = _ours("instar")
    return Programs(
        _python_of(instar), instar, _ours("instar-qemu-img"), _theirs("qemu-img", "IMG"), _theirs("qemu-io", "IO")
    )


def _ours(name: str) -> str:
    beside = os.path.join(os.path.dirname(sys.executable), name)
    found = beside if os.access(beside, os.X_OK) else shutil.which(name)
    if not found:
        raise Missing(f"{name} is installed neither beside {sys.executable} nor on the PATH")
    return found


def _theirs(name: str, variable: str) -> str:
    found = os.environ.get(f"INSTAR_QEMU_{variable}") or shutil.which(name)
    if not found:
        raise Missing(f"{name} is not on the PATH, and INSTAR_QEMU_{variable} is not set")
    return found


def _python_of(script: str) -> str:
    with open(script, "rb") as file:
        line = file.readline(4096).decode(errors="replace")
    named = line[2:].strip()
    return named if line.startswith("#!") and os.access(named, os.X_OK) else sys.executable


def openstack(programs: Programs) -> list[str]:
    """The words before qemu-img as OpenStack's services start it. Raises Unavailable."""
    limits = [programs.python, "-m", "oslo_concurrency.prlimit", "--as=1073741824", "--cpu=30", "--"]
    tried = subprocess.run([*limits, "true"], capture_output=True, text=True, check=False)
    if tried.returncode:
        raise Unavailable(f"{programs.python} cannot run oslo_concurrency.prlimit")
    return [*limits, "env", "LC_ALL=C", "LANG=C"]


def described(programs: Programs) -> dict[str, str]:
    """What a reader of the figures has to know, by name."""
    return {
        "qemu-img": _first_line(programs.qemu_img, "--version") + _how_started(programs.qemu_img),
        "instar": _first_line(programs.instar, "--version") + _how_installed(programs.instar),
        "python": _first_line(programs.python, "--version"),
        "machine": machine(),
    }


def machine() -> str:
    """Processor and kernel."""
    return f"{_processor()}, {os.cpu_count()} processors, Linux {platform.release()}"


def _first_line(*words: str) -> str:
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.partition("\n")[0]


def _how_installed(script: str) -> str:
    """A remark where the installation is editable, which makes every import slower."""
    place = Path(script).resolve().parents[1]
    for record in place.glob("lib/python*/site-packages/instar-*.dist-info/direct_url.json"):
        if json.loads(record.read_text()).get("dir_info", {}).get("editable"):
            return " (editable installation: starts more slowly than a proper one)"
    return ""


def _how_started(path: str) -> str:
    """A remark where a program is a script that starts the real one, which takes its own milliseconds."""
    with open(path, "rb") as file:
        return " (started by a script: short commands take longer)" if file.read(2) == b"#!" else ""


def _processor() -> str:
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        for line in file:
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.machine()
