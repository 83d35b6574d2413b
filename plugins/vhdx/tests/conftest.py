"""The builder of images, the tiny host that applies a writer's edits, and the foreign programs that judge."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from instar_core.testing import foreign


def pytest_collection_modifyitems(items):
    foreign.skip_where_old(items, Path(__file__).parent)


class Programs:
    """Foreign programs; asking for one that is missing skips the test."""

    def __init__(self):
        self.known = {}

    def find(self, name, variable=None):
        found = (variable and os.environ.get(variable)) or shutil.which(name)
        if not found:
            pytest.skip(f"{name} is not installed")
        return found

    def run(self, *command, check=True):
        done = subprocess.run([str(word) for word in command], capture_output=True, check=False)
        if check and done.returncode:
            pytest.fail(f"{command}: {done.stderr.decode(errors='replace')}")
        return done

    def qemu(self, name):
        """The program, once it has said that it is QEMU's: another that answers to its name proves nothing."""
        if name not in self.known:
            found = self.find(name, {"qemu-img": "INSTAR_QEMU_IMG", "qemu-io": "INSTAR_QEMU_IO"}[name])
            said = self.run(found, "--version").stdout
            if b"QEMU Project" not in said:
                pytest.skip(f"{found} is not a program of QEMU")
            self.known[name] = found
        return self.known[name]

    def img(self, *arguments, check=True):
        return self.run(self.qemu("qemu-img"), *arguments, check=check)

    def io(self, path, *commands):
        given = [part for command in commands for part in ("-c", command)]
        return self.run(self.qemu("qemu-io"), "-f", "vhdx", *given, path)

    def answer(self, verb, path):
        return json.loads(self.img(verb, "-f", "vhdx", "--output=json", path).stdout)

    def content(self, path):
        """The disk as qemu-img converts it."""
        target = Path(path).with_name("converted.raw")
        self.img("convert", "-f", "vhdx", "-O", "raw", path, target)
        return target.read_bytes()


def module(name):
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


@pytest.fixture(scope="session")
def programs():
    return Programs()


@pytest.fixture(scope="session")
def builder():
    """The module vhdx_builder."""
    return module("vhdx_builder")


@pytest.fixture(scope="session")
def host():
    """The module vhdx_executor: create, repair, Opened."""
    return module("vhdx_executor")


@pytest.fixture
def agree(host, programs):
    """A function that asserts that an image reads here as it does for qemu-img, and returns its content."""

    def compare(path):
        said = programs.answer("info", path)
        with host.Opened(path) as opened:
            info = opened.info
            assert info.virtual_size == said["virtual-size"]
            assert info.cluster_size == said["cluster-size"]
            assert info.dirty == said["dirty-flag"]
            assert "format-specific" not in said and not info.details
            content = opened.content()
        assert content == programs.content(path)
        return content

    return compare
