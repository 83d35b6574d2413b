"""The foreign programs that judge, and images that are in memory."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from instar_core.source import Image, bytes_source
from instar_core.testing import Subject, foreign
from instar_core.testing.subject import load_spec


def pytest_collection_modifyitems(items):
    foreign.skip_where_old(items, Path(__file__).parent)


class Programs:
    """Foreign programs; asking for one that is missing skips the test."""

    def run(self, *command, check=True):
        done = subprocess.run([str(word) for word in command], capture_output=True, check=False)
        if check and done.returncode:
            pytest.fail(f"{command}: {done.stderr.decode(errors='replace')}")
        return done

    def find(self, name, variable):
        found = os.environ.get(variable) or shutil.which(name)
        if not found:
            pytest.skip(f"{name} is not installed")
        return found

    def qemu(self):
        found = self.find("qemu-img", "INSTAR_QEMU_IMG")
        if b"QEMU Project" not in self.run(found, "--version").stdout:
            pytest.skip(f"{found} is not a program of QEMU")
        return found

    def img(self, *arguments, check=True):
        return self.run(self.qemu(), *arguments, check=check)

    def answer(self, verb, path, *more, check=True):
        return json.loads(self.img(verb, "-f", "cloop", *more, "--output=json", path, check=check).stdout)

    def content(self, path):
        """The disk as qemu-img converts it."""
        target = Path(path).with_name("converted.raw")
        self.img("convert", "-f", "cloop", "-O", "raw", path, target)
        return target.read_bytes()


@pytest.fixture(scope="session")
def programs():
    return Programs()


@pytest.fixture(scope="session")
def builder():
    """The module cloop_builder."""
    spec = importlib.util.spec_from_file_location("cloop_builder", Path(__file__).with_name("cloop_builder.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def subject():
    """The plugin's hooks as a host calls them."""
    return Subject(load_spec("cloop"))


@pytest.fixture(scope="session")
def content(subject):
    """A function that gives the content of an image in memory, read through its map."""

    def read(data):
        image = Image([bytes_source(data)])
        info = subject.info(image)
        parts = []
        for one in subject.map(image, 0, info.virtual_size):
            unit = subject.decode(info.codings[one.coding - 1].params, data[one.offset : one.offset + one.stored])
            parts.append(unit[one.skip : one.skip + one.length])
        return b"".join(parts)

    return read
