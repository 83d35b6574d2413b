"""Images built from the specification, images that the plugin writes, and the foreign programs that judge them."""

from __future__ import annotations

import os
import re
from pathlib import Path
from random import Random

import pytest

from instar_core.source import Image, descriptor_source
from instar_core.testing import Subject, content, foreign, shape, specimen
from instar_core.testing.beside import beside
from instar_core.testing.executor import change
from instar_core.testing.medium import Disk
from instar_core.testing.subject import load_spec
from instar_core.types import Kind, Repair


def pytest_collection_modifyitems(items):
    foreign.skip_where_old(items, Path(__file__).parent)


class Programs(foreign.Programs):
    format = "parallels"

    def io(self, path, *commands):
        """qemu-io, by whose words the disk is written and read."""
        given = [part for command in commands for part in ("-c", command)]
        done = self.run(self.qemu("qemu-io"), "-f", self.format, *given, path)
        assert b"verification failed" not in done.stdout

    def recent(self):
        """Skips where qemu-img is older than 11.1, which checks this format more closely than those before it."""
        said = self.run(self.qemu("qemu-img"), "--version").stdout.decode()
        found = tuple(int(part) for part in re.findall(r"\d+", said)[:2])
        if found < (11, 1):
            pytest.skip(f"qemu-img {found[0]}.{found[1]} is older than 11.1")

    def check(self, path):
        """Exit code and finding lines of qemu-img check."""
        done = self.img("check", "-f", "parallels", path, check=False)
        return done.returncode, done.stderr.decode().splitlines()


@pytest.fixture(scope="session")
def programs():
    return Programs()


@pytest.fixture(scope="session")
def builder():
    """The module parallels_builder: images from the specification, by other code than the plugin's."""
    return beside(__file__)("parallels_builder")


class Opened:
    """The hooks over one file."""

    def __init__(self, path):
        self.path = Path(path)
        self.subject = Subject(load_spec("parallels"))
        self.descriptor = os.open(path, os.O_RDONLY)
        self.image = Image([descriptor_source(self.descriptor, self.path.stat().st_size)])

    @property
    def info(self):
        return self.subject.info(self.image)

    def extents(self, start=0, length=None):
        length = self.info.virtual_size - start if length is None else length
        stream = self.subject.map(self.image, start, length)
        return list(shape.extents(stream, start, length, self.info, 1 << 20))

    def content(self):
        parts = []
        for extent in self.extents():
            data = os.pread(self.descriptor, extent.length, extent.offset) if extent.kind == Kind.DATA else b""
            parts.append(data.ljust(extent.length, b"\0"))
        return b"".join(parts)

    def ranges(self):
        """The map as qemu-img prints it."""
        return [
            {
                "start": extent.start,
                "length": extent.length,
                "depth": 0,
                "present": extent.kind == Kind.DATA,
                "zero": extent.kind != Kind.DATA,
                "data": extent.kind == Kind.DATA,
                "compressed": False,
                **({"offset": extent.offset} if extent.kind == Kind.DATA else {}),
            }
            for extent in self.extents()
        ]

    def findings(self):
        return [found for found in self.subject.check(self.image) if hasattr(found, "severity")]

    def tally(self):
        return list(self.subject.check(self.image))[-1]

    def close(self):
        os.close(self.descriptor)


@pytest.fixture
def opened():
    """A function that opens a file with the hooks; everything is closed at the end."""
    made = []

    def open_one(path):
        made.append(Opened(path))
        return made[-1]

    yield open_one
    for one in made:
        one.close()


@pytest.fixture
def written(tmp_path):
    """A function that makes an image of some content with the plugin's writer, and returns its path."""
    subject = Subject(load_spec("parallels"))

    def write(data, size=None, name="disk.hdd", seed=1, **options):
        disk = Disk(data)
        disk.truncate(len(data) if size is None else size)
        made = specimen.written(subject, disk, options, Random(seed))
        path = tmp_path / name
        store(path, made.files[0])
        return path

    return write


def store(path, disk):
    """A disk in memory as a file, its holes holes."""
    with open(path, "wb") as file:
        for start, length in disk.ranges():
            file.seek(start)
            file.write(disk.read(start, min(length, disk.size - start)))
        file.truncate(disk.size)


@pytest.fixture
def mended():
    """A function that repairs a file in place with the plugin's edits, and returns their history."""
    subject = Subject(load_spec("parallels"))

    def mend(path, mode="all"):
        history = change(subject, [Disk(Path(path).read_bytes())], Repair(mode))
        store(path, history.files[0])
        return history

    return mend


@pytest.fixture
def scattered():
    """A function that makes content with holes: the same for the same seed."""

    def make(seed, size):
        disk = content.scattered(Random(seed), size)
        return disk.read(0, size)

    return make
