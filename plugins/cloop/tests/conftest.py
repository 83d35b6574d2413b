"""The foreign programs that judge, and images that are in memory."""

from __future__ import annotations

from pathlib import Path

import pytest

from instar_core.source import Image, bytes_source
from instar_core.testing import Subject, foreign
from instar_core.testing.beside import beside
from instar_core.testing.subject import load_spec


def pytest_collection_modifyitems(items):
    foreign.skip_where_old(items, Path(__file__).parent)


class Programs(foreign.Programs):
    format = "cloop"


@pytest.fixture(scope="session")
def programs():
    return Programs()


@pytest.fixture(scope="session")
def builder():
    """The module cloop_builder."""
    return beside(__file__)("cloop_builder")


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
