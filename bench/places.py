"""File systems of a kind, for the time of a measurement: a sparse file with one in it, mounted by root."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager


def leave_nothing() -> None:
    """A signal that ends this program lets it tidy up before."""
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))


class Unavailable(Exception):
    """What a case needs is not to be had here."""


@contextmanager
def mounted(kind: str, folder: str, size: int) -> Iterator[str]:
    """A folder below `folder` that is the root of a new file system of `size` bytes; afterwards nothing is left of it.

    Raises Unavailable.
    """
    if os.geteuid() != 0:
        raise Unavailable(f"only root can mount a {kind} file system")
    if not shutil.which(f"mkfs.{kind}"):
        raise Unavailable(f"mkfs.{kind} is not installed")
    image, place = os.path.join(folder, f"{kind}.image"), os.path.join(folder, kind)
    os.mkdir(place)
    try:
        with open(image, "wb") as file:
            file.truncate(size)
        for words in ((f"mkfs.{kind}", "-q", image), ("mount", "-o", "loop", image, place)):
            done = subprocess.run(words, capture_output=True, text=True, check=False)
            if done.returncode:
                raise Unavailable(f"{words[0]}: {done.stderr.strip() or done.returncode}")
        try:
            yield place
        finally:
            subprocess.run(("umount", "--lazy", place), check=True)  # a command that was cut short may still end
    finally:
        os.unlink(image)
        os.rmdir(place)
