"""Foreign programs, and the builder of VHD files."""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path

import pytest

from instar_core.testing import foreign
from instar_core.testing.beside import beside


def pytest_collection_modifyitems(items):
    foreign.skip_where_old(items, Path(__file__).parent)


class Programs(foreign.Programs):
    format = "vpc"

    def module(self, name):
        try:
            return importlib.import_module(name)
        except ImportError:
            pytest.skip(f"the Python module {name} is not installed")

    def io(self, path, *commands, format="vpc"):
        given = [part for command in commands for part in ("-c", command)]
        return self.run(self.qemu("qemu-io"), "-f", format, *given, path)

    def refusal(self, path):
        """What qemu-img says of an image that it does not open, without what comes before that."""
        done = self.img("info", "-f", "vpc", path, check=False)
        assert done.returncode == 1, done
        return done.stderr.decode().rpartition(f"Could not open '{path}': ")[2].strip()


@pytest.fixture(scope="session")
def programs():
    return Programs()


@pytest.fixture(scope="session")
def builder():
    """The module vhd_builder."""
    return beside(__file__)("vhd_builder")
