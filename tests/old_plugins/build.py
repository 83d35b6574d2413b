"""Builds the wheels of plugins as they are today, into the folder of the present version of the plugin API.

    python tests/old_plugins/build.py

A folder that is there is left alone: what was built against a released version never changes. It needs pip and
hatchling, and asks no index. The same sources make the same bytes, for the date in a wheel is always the same.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from instar_core.types import API

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
SOURCES = (
    ROOT / "tests" / "toy",
    HERE / "reader",
    HERE / "split",
    HERE / "ledger",
    ROOT / "plugins" / "bochs",
    ROOT / "plugins" / "qed",
)
DATE = "1577836800"
"""The first second of 2020: seconds since the epoch."""


def main() -> int:
    """The folder of the present version has the wheels."""
    folder = HERE / ".".join(map(str, API))
    if folder.exists():
        print(f"{folder.name} is there already; what it holds never changes", file=sys.stderr)
        return 1
    words = ("-m", "pip", "wheel", "--quiet", "--no-deps", "--no-index", "--no-build-isolation", "--wheel-dir")
    os.umask(0o022)
    subprocess.run(
        [sys.executable, *words, str(folder), *map(str, SOURCES)],
        env=dict(os.environ, SOURCE_DATE_EPOCH=DATE, PIP_DISABLE_PIP_VERSION_CHECK="1"),
        check=True,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
