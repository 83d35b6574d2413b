"""Options that only some file systems have take effect there: nocow on btrfs, the extent size hint on XFS, reflinks
on both."""

from __future__ import annotations

import fcntl
import os
import random
import shutil
import struct
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import instar_core
from instar_core import registry

GETFLAGS, NOCOW = 0x80086601, 0x00800000
FSGETXATTR = 0x801C581F
MIB = 1 << 20

Mount = Callable[[str], Path]


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Mount]:
    """Makes a file system of a kind and mounts it; skips where that cannot be."""
    places: list[Path] = []

    def mount(kind: str) -> Path:
        if os.geteuid() or not shutil.which(f"mkfs.{kind}"):
            pytest.skip(f"mounting a {kind} file system needs root and mkfs.{kind}")
        image, place = tmp_path / f"{kind}.img", tmp_path / kind
        with image.open("wb") as file:
            file.truncate(400 * MIB)
        place.mkdir()
        for command in ([f"mkfs.{kind}", "-q", image], ["mount", "-o", "loop", image, place]):
            done = subprocess.run(command, capture_output=True, check=False)
            if done.returncode:
                pytest.skip(f"{command[0]} does not work here: {done.stderr.decode(errors='replace').strip()}")
        places.append(place)
        return place

    yield mount
    for place in places:
        subprocess.run(["umount", place], check=True)


def asked(path: Path, request: int, size: int) -> bytes:
    with path.open("rb") as file:
        return fcntl.ioctl(file, request, bytes(size))


@pytest.mark.parametrize("format", ["raw", "qcow2"])
def test_nocow_turns_copy_on_write_off_on_btrfs(mounted: Mount, format: str) -> None:
    if format not in registry.entries():
        pytest.skip(f"instar-{format} is not installed")
    place = mounted("btrfs")
    for wish in ("on", "off"):
        instar_core.create(str(place / wish), format=format, size=MIB, options={"nocow": wish})
        flags = struct.unpack("l", asked(place / wish, GETFLAGS, 8))[0]
        assert bool(flags & NOCOW) == (wish == "on")


def test_the_extent_size_hint_is_set_on_xfs(mounted: Mount) -> None:
    place = mounted("xfs")
    for wish, bytes_ in (("2M", 2 * MIB), (None, MIB), ("0", 0)):
        path = place / f"hint-{wish}"
        options = {} if wish is None else {"extent_size_hint": wish}
        instar_core.create(str(path), format="raw", size=MIB, options=options)
        assert struct.unpack("IIIII8x", asked(path, FSGETXATTR, 28))[1] == bytes_


@pytest.mark.parametrize("kind", ["xfs", "btrfs"])
def test_copy_offloading_shares_blocks_and_gives_the_same_content(mounted: Mount, kind: str) -> None:
    place = mounted(kind)
    content = random.Random(3).randbytes(4 * MIB) + bytes(MIB) + b"end" * 4096
    (place / "source").write_bytes(content)
    instar_core.convert([str(place / "source")], str(place / "copy"), source_format="raw", copy_offload=True)
    assert (place / "copy").read_bytes() == content + bytes(-len(content) % 512)
    if shutil.which("filefrag"):
        told = subprocess.run(["filefrag", "-v", place / "copy"], capture_output=True, text=True, check=True).stdout
        assert "shared" in told
