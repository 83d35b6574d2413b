"""Where a source cannot be served as a file it is copied first; then it is only read."""

from __future__ import annotations

import os
import random
from collections import namedtuple
from collections.abc import Iterator
from pathlib import Path

import pytest

import instar_core
from instar_core import device
from instar_core.errors import DeviceError, InstarError
from instar_core.settings import Settings
from instar_core.sources import opening
from instar_core.sources.backend import Backend
from instar_core.sources.spool import spooled
from instar_core.testing.beside import beside

servers = beside(__file__)("sources_servers")
MIB = 1 << 20
INSIDE = Settings(sandbox="process")
WITHOUT = (
    "import sys; sys.path[:] = sys.argv[1:]\n"
    "from instar_core.errors import DeviceError\n"
    "from instar_core.sources import mounting, serving\n"
    "def mounted(): raise DeviceError('/dev/fuse cannot be had here')\n"
    "mounting.mounted = mounted\n"
    "serving.main()\n"
)


class Lent(Backend):
    """A source in memory of which the second half is a hole."""

    def __init__(self, content: bytes, size: int | None = -1, anywhere: bool = True) -> None:
        self.content = content
        self.size = len(content) if size == -1 else size
        self.anywhere = anywhere
        self.read_at: list[int] = []

    def read(self, offset: int, length: int) -> bytes:
        self.read_at.append(offset)
        return self.content[offset : offset + length]

    def stream(self) -> Iterator[bytes]:
        for at in range(0, len(self.content), 1000):
            yield self.content[at : at + 1000]

    def extents(self, offset: int, length: int) -> list[tuple[int, bool]]:
        half = len(self.content) // 2
        return [(half - offset, True)] if offset < half else [(length, False)]


def whole(descriptor: int) -> bytes:
    try:
        return os.pread(descriptor, 1 << 30, 0)
    finally:
        os.close(descriptor)


def test_a_source_is_copied_without_its_holes(tmp_path: Path) -> None:
    content = random.Random(1).randbytes(3 * MIB) + bytes(3 * MIB)
    lent = Lent(content)
    descriptor = spooled(lent, str(tmp_path))
    assert max(lent.read_at) < 3 * MIB
    assert os.fstat(descriptor).st_blocks * 512 <= 3 * MIB + (64 << 10)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.pwrite(descriptor, b"x", 0)
    assert whole(descriptor) == content
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("size", [None, 5500])
def test_a_source_that_is_read_from_front_to_back_is_copied_so(tmp_path: Path, size: int | None) -> None:
    content = random.Random(2).randbytes(5500)
    lent = Lent(content, size, anywhere=False)
    assert whole(spooled(lent, str(tmp_path))) == content
    assert lent.read_at == []


@pytest.mark.parametrize(
    "lent,said",
    [
        (Lent(bytes(2001)), "larger than 2000 bytes"),
        (Lent(bytes(2001), None), "larger than 2000 bytes"),
        (Lent(bytes(1500), 1600, anywhere=False), "the source gave 1500 bytes of 1600"),
    ],
)
def test_what_cannot_be_copied_is_told_and_nothing_stays(tmp_path: Path, lent: Lent, said: str) -> None:
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(DeviceError, match=said):
        spooled(lent, str(tmp_path), 2000)
    assert list(tmp_path.iterdir()) == []
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_copy_that_has_no_room_is_not_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "statvfs", lambda _: namedtuple("Facts", "f_bavail f_frsize")(1, 512))
    lent = Lent(bytes(4096))
    with pytest.raises(DeviceError, match=f"2048 bytes have to be kept in '{tmp_path}', where 512 are free"):
        spooled(lent, str(tmp_path))
    assert lent.read_at == []
    with pytest.raises(DeviceError, match="no file can be made in '/proc'"):
        spooled(lent, "/proc")


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(opening, "BOOT", WITHOUT)
    monkeypatch.setenv("TMPDIR", str(tmp_path))


def test_an_export_is_read_without_fuse(instar, without: None, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    content = random.Random(3).randbytes(MIB) + bytes(4 * MIB) + random.Random(4).randbytes(MIB)
    disk.write_bytes(content)
    before = sorted(os.listdir("/proc/self/fd"))
    with servers.qemu_nbd(tmp_path, disk) as name:
        instar_core.convert([name], str(tmp_path / "copy"), source_format="raw", settings=INSIDE)
        assert (tmp_path / "copy").read_bytes() == content
        shown = instar_core.info(name, format="raw", settings=INSIDE)[0]
        assert (shown.children[0].driver, shown.children[0].allocated) == ("nbd", None)
    assert sorted(os.listdir("/proc/self/fd")) == before


def test_nothing_is_written_without_fuse(instar, without: None, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.write_bytes(b"old" * 1000)
    Path("new").write_bytes(bytes(512))
    with servers.qemu_nbd(tmp_path, disk) as name:
        code, _, said = instar("convert", "-n", "-f", "raw", "-O", "raw", "new", name)
    assert code == 1 and said == (
        f"qemu-img: Could not open '{name}': a source can only be written to where it can be served as a file: "
        "/dev/fuse cannot be had here\n"
    )
    assert disk.read_bytes() == b"old" * 1000


def test_the_process_is_gone_when_the_copy_is_there(without: None, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.write_bytes(bytes(4096))
    with servers.qemu_nbd(tmp_path, disk) as name:
        opened = device.open_named(name)
    assert opened.served is not None and opened.served.pid == 0
    assert os.pread(opened.descriptor, 4096, 0) == bytes(4096)
    with pytest.raises(InstarError) as caught:
        try:
            raise InstarError("something else")
        finally:
            opened.close()
    assert caught.value.hint == ""
