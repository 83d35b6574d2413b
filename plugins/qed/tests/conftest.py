"""The foreign programs that judge, and images that are in memory."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from instar_core.source import Image, bytes_source
from instar_core.testing import Subject, executor, foreign
from instar_core.testing.beside import beside
from instar_core.testing.medium import Disk
from instar_core.testing.subject import load_spec


def pytest_collection_modifyitems(items):
    foreign.skip_where_old(items, Path(__file__).parent)


class Programs:
    """qemu-img and qemu-io; asking for one that is missing skips the test."""

    def run(self, *command, check=True):
        done = subprocess.run([str(word) for word in command], capture_output=True, check=False)
        if check and done.returncode:
            pytest.fail(f"{command}: {done.stderr.decode(errors='replace')}")
        return done

    def find(self, name, variable):
        found = os.environ.get(variable) or shutil.which(name)
        if not found:
            pytest.skip(f"{name} is not installed")
        if b"QEMU Project" not in self.run(found, "--version").stdout:
            pytest.skip(f"{found} is not a program of QEMU")
        return found

    def img(self, *arguments, check=True):
        return self.run(self.find("qemu-img", "INSTAR_QEMU_IMG"), *arguments, check=check)

    def io(self, path, *commands):
        given = [part for command in commands for part in ("-c", command)]
        return self.run(self.find("qemu-io", "INSTAR_QEMU_IO"), "-f", "qed", *given, path)

    def answer(self, verb, path, *more, check=True):
        return json.loads(self.img(verb, "-f", "qed", *more, "--output=json", path, check=check).stdout)

    def content(self, path):
        """The disk as qemu-img converts it."""
        target = Path(path).with_name("converted.raw")
        self.img("convert", "-f", "qed", "-O", "raw", path, target)
        return target.read_bytes()


@pytest.fixture(scope="session")
def programs():
    return Programs()


@pytest.fixture(scope="session")
def builder():
    """The module qed_builder."""
    return beside(__file__)("qed_builder")


@pytest.fixture(scope="session")
def subject():
    """The plugin's hooks as a host calls them."""
    return Subject(load_spec("qed"))


@pytest.fixture(scope="session")
def show(subject):
    """A function that gives the content and the map of an image in memory, in qemu-img's words."""

    def read(data):
        image = Image([bytes_source(data)])
        size = subject.info(image).virtual_size
        extents = list(subject.map(image, 0, size))
        content = b"".join(
            Disk(data).read(one.offset, one.length) if one.kind == 0 else bytes(one.length) for one in extents
        )
        ranges = []
        for one in extents:
            told = {
                "start": one.start,
                "length": one.length,
                "depth": 0,
                "present": one.kind != 2,
                "zero": one.kind > 0,
            }
            told |= {"zero": one.kind > 0, "data": one.kind == 0, "compressed": False}
            if one.kind == 0:
                told["offset"] = one.offset
            ranges.append(told)
        return content, ranges

    return read


@pytest.fixture(scope="session")
def mend(subject):
    """A function that gives an image in memory as a repair leaves it, and the history of the repair."""

    def run(data, request):
        history = executor.change(subject, [Disk(data)], request)
        return history.files[0].read(0, history.files[0].size), history

    return run
