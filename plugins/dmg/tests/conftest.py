"""The builder of images, and the foreign programs that judge."""

from __future__ import annotations

import importlib.util
import json
import os
import random
import shutil
import subprocess
import zlib
from pathlib import Path

import pytest
from instar_dmg import hooks

from instar_core.source import Image, bytes_source
from instar_core.testing import foreign
from instar_core.testing.beside import beside
from instar_core.types import Kind, Layer, Span

VARIABLES = {"qemu-img": "INSTAR_QEMU_IMG"}


def pytest_collection_modifyitems(items):
    foreign.skip_where_old(items, Path(__file__).parent)


class Programs:
    """Foreign programs; asking for one that is missing skips the test."""

    def find(self, name):
        found = os.environ.get(VARIABLES.get(name, "")) or shutil.which(name)
        if not found:
            pytest.skip(f"{name} is not installed")
        return found

    def run(self, *command, check=True):
        done = subprocess.run([str(word) for word in command], capture_output=True, check=False)
        if check and done.returncode:
            pytest.fail(f"{command}: {done.stderr.decode(errors='replace')}")
        return done

    def img(self, *arguments, check=True):
        found = self.find("qemu-img")
        if b"QEMU Project" not in self.run(found, "--version").stdout:
            pytest.skip(f"{found} is not a program of QEMU")
        return self.run(found, *arguments, check=check)

    def info(self, path):
        return json.loads(self.img("info", "-f", "dmg", "--output=json", path).stdout)

    def content(self, path):
        """The disk as qemu-img converts it."""
        target = Path(path).with_name("converted.raw")
        self.img("convert", "-f", "dmg", "-O", "raw", path, target)
        return target.read_bytes()


class Opened:
    """An image in memory, opened."""

    def __init__(self, data):
        self.data = bytes(data)
        self.image = Image([bytes_source(self.data)])
        self.info = hooks.instar_info(self.image)

    def extents(self, start=0, length=None):
        """The map of a window, checked to cover it exactly."""
        length = self.info.virtual_size - start if length is None else length
        made = list(hooks.instar_map(self.image, Layer(), Span(start, length)))
        at = start
        for extent in made:
            assert extent.start == at and extent.length > 0, extent
            at += extent.length
        assert at == start + length
        return made

    def content(self, start=0, length=None):
        return b"".join(self._piece(extent).ljust(extent.length, b"\0") for extent in self.extents(start, length))

    def _piece(self, extent):
        if extent.kind == Kind.ZERO:
            return b""
        if not extent.coding:
            return self.data[extent.offset : extent.offset + extent.length]
        coding = self.info.codings[extent.coding - 1]
        stored = self.data[extent.offset : extent.offset + extent.stored]
        if coding.name == "zlib":
            whole = zlib.decompressobj().decompress(stored, coding.unit)
        else:
            whole = hooks.instar_decode(coding.params, stored)
        assert len(whole) <= coding.unit
        return whole[extent.skip : extent.skip + extent.length]

    def check(self):
        """Findings as (severity, text), and the tally."""
        *found, tally = hooks.instar_check(self.image)
        return [(finding.severity, finding.text) for finding in found], tally


@pytest.fixture(scope="session")
def programs():
    return Programs()


@pytest.fixture(scope="session")
def opened():
    return Opened


@pytest.fixture(scope="session")
def builder():
    """The module dmg_builder."""
    return beside(__file__)("dmg_builder")


@pytest.fixture(scope="session")
def kinds():
    """The kinds of chunks that this installation can decode."""
    every = ["raw", "adc", "zlib", "bzip2", "lzma"]
    return [*every, "lzfse"] if importlib.util.find_spec("lzfse") else every


def content(seed, sectors):
    """Sectors of which some repeat and some are noise."""
    choose = random.Random(seed)
    made = bytearray()
    while len(made) < sectors * 512:
        made += choose.choice((choose.randbytes(300), b"abc" * choose.randrange(200), bytes(choose.randrange(400))))
    return bytes(made[: sectors * 512])


@pytest.fixture(scope="session")
def filling():
    """A function (seed, sectors) → content."""
    return content


@pytest.fixture(scope="session")
def several(builder, kinds):
    """A function (kinds, seed) → an image in several partitions with chunks of these kinds, unequally large."""

    def make(wanted=None, seed=0, **arguments):
        choose = random.Random(seed)
        wanted = wanted or [*kinds, "zero", "ignore"]
        made = builder.Image(**arguments)
        for number in range(3):
            pieces = [(kind, content(seed + at, choose.randrange(1, 600))) for at, kind in enumerate(wanted)]
            choose.shuffle(pieces)
            made.partition(f"part {number}", *pieces)
        return made

    return make
