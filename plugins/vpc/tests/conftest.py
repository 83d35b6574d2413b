"""Foreign programs, and the builder of VHD files."""

from __future__ import annotations

import importlib
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

    def module(self, name):
        try:
            return importlib.import_module(name)
        except ImportError:
            pytest.skip(f"the Python module {name} is not installed")

    def run(self, *command, check=True):
        done = subprocess.run([str(word) for word in command], capture_output=True, check=False)
        if check and done.returncode:
            pytest.fail(f"{command}: {done.stderr.decode(errors='replace')}")
        return done

    def qemu(self, name):
        """The program, once it has said that it is QEMU's: another that answers to its name proves nothing."""
        if name not in self.known:
            found = self.find(name, {"qemu-img": "INSTAR_QEMU_IMG", "qemu-io": "INSTAR_QEMU_IO"}[name])
            if b"QEMU Project" not in self.run(found, "--version").stdout:
                pytest.skip(f"{found} is not a program of QEMU")
            self.known[name] = found
        return self.known[name]

    def img(self, *arguments, check=True):
        return self.run(self.qemu("qemu-img"), *arguments, check=check)

    def io(self, path, *commands, format="vpc"):
        given = [part for command in commands for part in ("-c", command)]
        return self.run(self.qemu("qemu-io"), "-f", format, *given, path)

    def answer(self, verb, path):
        return json.loads(self.img(verb, "-f", "vpc", "--output=json", path).stdout)

    def refusal(self, path):
        """What qemu-img says of an image that it does not open, without what comes before that."""
        done = self.img("info", "-f", "vpc", path, check=False)
        assert done.returncode == 1, done
        return done.stderr.decode().rpartition(f"Could not open '{path}': ")[2].strip()

    def content(self, path):
        """The disk as qemu-img converts it."""
        target = Path(path).with_name("converted.raw")
        self.img("convert", "-f", "vpc", "-O", "raw", path, target)
        return target.read_bytes()


@pytest.fixture(scope="session")
def programs():
    return Programs()


@pytest.fixture(scope="session")
def builder():
    """The module vhd_builder."""
    spec = importlib.util.spec_from_file_location("vhd_builder", Path(__file__).with_name("vhd_builder.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
