"""Foreign programs that answers are compared with, and when not to compare.

qemu-img changed what it prints up to version 10, so an older one proves nothing about the answers of a newer. A
conftest that calls `skip_where_old` skips what is marked `oracle` there, and says why.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

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
