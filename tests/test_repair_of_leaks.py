"""check -r leaks also mends the COPIED flags of a qcow2 in which nothing else is wrong, as qemu-img does."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from instar_core import registry

QEMU_IMG = os.environ.get("INSTAR_QEMU_IMG") or shutil.which("qemu-img")
QEMU_IO = os.environ.get("INSTAR_QEMU_IO") or shutil.which("qemu-io")
pytestmark = [
    pytest.mark.skipif(not (QEMU_IMG and QEMU_IO), reason="qemu-img or qemu-io is not installed"),
    pytest.mark.skipif("qcow2" not in registry.entries(), reason="instar-qcow2 is not installed"),
    pytest.mark.oracle,
]
COPIED = 1 << 63
OFFSET = 0x00FFFFFFFFFFFE00

Call = Callable[..., tuple[int, str, str]]


def qemu(*words: str) -> tuple[int, str, str]:
    assert QEMU_IMG
    done = subprocess.run([QEMU_IMG, *words], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


class Image:
    """The words of x, an image of two clusters with content."""

    def __init__(self) -> None:
        assert QEMU_IO
        assert qemu("create", "-q", "-f", "qcow2", "x", "1M")[0] == 0
        subprocess.run([QEMU_IO, "-f", "qcow2", "-c", "write -P 1 0 128k", "x"], check=True, capture_output=True)
        self.data = bytearray(Path("x").read_bytes())
        self.l2 = self.word(self.word(40)) & OFFSET
        self.refcounts = self.word(self.word(48))

    def word(self, at: int) -> int:
        return int(struct.unpack_from(">Q", self.data, at)[0])

    def entry(self, at: int, value: int) -> None:
        struct.pack_into(">Q", self.data, self.l2 + 8 * at, value)

    def refcount(self, place: int, value: int) -> None:
        struct.pack_into(">H", self.data, self.refcounts + 2 * (place >> 16), value)

    def save(self) -> None:
        for name in "xq":
            Path(name).write_bytes(self.data)


def unset(image: Image) -> None:
    """One cluster is not called the image's own."""
    image.entry(0, image.word(image.l2) & ~COPIED)


def shared(image: Image) -> None:
    """Two places of the disk show one cluster, and both call it their own."""
    first = image.word(image.l2)
    image.refcount(image.word(image.l2 + 8) & OFFSET, 0)
    image.entry(1, first)
    image.refcount(first & OFFSET, 2)


def leaking(image: Image) -> None:
    """As unset, and a cluster leaks."""
    unset(image)
    image.refcount(image.word(image.l2 + 8) & OFFSET, 2)


def missing(image: Image) -> None:
    """As unset, and a cluster that is in use counts as free."""
    unset(image)
    image.refcount(image.word(image.l2 + 8) & OFFSET, 0)


@pytest.mark.parametrize("mode", ["leaks", "all"])
@pytest.mark.parametrize("damage", [unset, shared, leaking, missing], ids=lambda damage: damage.__name__)
def test_flags_are_mended_where_refcounts_are_right_then(
    instar: Call, damage: Callable[[Image], None], mode: str
) -> None:
    image = Image()
    damage(image)
    image.save()
    told = [each("check", "-f", "qcow2", "-r", mode, name) for each, name in ((instar, "x"), (qemu, "q"))]
    assert told[0] == told[1]
    assert qemu("check", "-f", "qcow2", "x")[::2] == qemu("check", "-f", "qcow2", "q")[::2]
    assert qemu("compare", "x", "q")[0] == 0
