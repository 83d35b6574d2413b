"""What QEMU says of the dirty bitmaps of an image: qemu-nbd shows their bits, qemu-img lists them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

QEMU_IMG = os.environ.get("INSTAR_QEMU_IMG") or shutil.which("qemu-img")
QEMU_IO = os.environ.get("INSTAR_QEMU_IO") or shutil.which("qemu-io")


def _beside(name):
    there = Path(QEMU_IMG or "").with_name(name)
    return str(there) if QEMU_IMG and there.exists() else shutil.which(name)


QEMU_NBD = os.environ.get("INSTAR_QEMU_NBD") or _beside("qemu-nbd")

needs_qemu = pytest.mark.skipif(
    not (QEMU_IMG and QEMU_IO and QEMU_NBD), reason="qemu-img, qemu-io or qemu-nbd is not installed"
)
PATIENCE = 20


def img(*words, check=True):
    """qemu-img."""
    done = subprocess.run([QEMU_IMG, *map(str, words)], capture_output=True, text=True, check=False)
    assert not check or not done.returncode, (words, done.stderr)
    return done


def io(path, *commands):
    """qemu-io."""
    words = [word for command in commands for word in ("-c", command)]
    done = subprocess.run([QEMU_IO, "-f", "qcow2", *words, str(path)], capture_output=True, text=True, check=False)
    assert not done.returncode, done.stderr


def listed(path):
    """(name, granularity, flags) of every bitmap, in the order of the directory."""
    found = json.loads(img("info", "-U", "--output=json", path).stdout)["format-specific"]["data"].get("bitmaps", [])
    return [(each["name"], each["granularity"], tuple(each["flags"])) for each in found]


def dirty(path, name):
    """(start, length) of what is dirty in the bitmap."""
    with tempfile.TemporaryDirectory() as folder:
        socket = os.path.join(folder, "s")
        words = [QEMU_NBD, "-r", "-f", "qcow2", "-k", socket, "-B", name, str(path)]
        server = subprocess.Popen(words, stderr=subprocess.PIPE)
        try:
            end = time.monotonic() + PATIENCE
            while not os.path.exists(socket):
                assert server.poll() is None and time.monotonic() < end, server.stderr.read()
                time.sleep(0.002)
            node = (
                f"driver=nbd,server.type=unix,server.path={socket},export=,"
                f"x-dirty-bitmap=qemu:dirty-bitmap:{name.replace(',', ',,')}"
            )
            told = json.loads(img("map", "--output=json", "--image-opts", node).stdout)
        finally:
            server.terminate()
            server.wait()
            server.stderr.close()
    made = []
    for each in told:
        if not each["data"]:
            if made and made[-1][0] + made[-1][1] == each["start"]:
                made[-1] = (made[-1][0], made[-1][1] + each["length"])
            else:
                made.append((each["start"], each["length"]))
    return made


def assert_clean(path):
    """qemu-img finds nothing wrong, not even a leak."""
    done = img("check", "-f", "qcow2", path, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
