"""The builder of images, the tiny host that applies a writer's edits, and the foreign programs that judge."""

from __future__ import annotations

from pathlib import Path

import pytest

from instar_core.testing import foreign
from instar_core.testing.beside import beside


def pytest_collection_modifyitems(items):
    foreign.skip_where_old(items, Path(__file__).parent)


class Programs(foreign.Programs):
    format = "vhdx"

    def io(self, path, *commands):
        given = [part for command in commands for part in ("-c", command)]
        return self.run(self.qemu("qemu-io"), "-f", "vhdx", *given, path)


@pytest.fixture(scope="session")
def programs():
    return Programs()


@pytest.fixture(scope="session")
def builder():
    """The module vhdx_builder."""
    return beside(__file__)("vhdx_builder")


@pytest.fixture(scope="session")
def host():
    """The module vhdx_executor: create, repair, Opened."""
    return beside(__file__)("vhdx_executor")


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
