"""The tiny host that applies a writer's edits, and the foreign programs that judge."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from instar_core.testing import foreign
from instar_core.testing.beside import beside

TEXT = '# Disk DescriptorFile\nversion=1\nCID=12345678\nparentCID=ffffffff\ncreateType="%s"\n# Extent description\n'


def pytest_collection_modifyitems(items):
    foreign.skip_where_old(items, Path(__file__).parent)


class Programs(foreign.Programs):
    format = "vmdk"

    def io(self, path, *commands):
        given = [part for command in commands for part in ("-c", command)]
        return self.run(self.qemu("qemu-io"), "-f", "vmdk", *given, path)


@pytest.fixture(scope="session")
def programs():
    return Programs()


@pytest.fixture(scope="session")
def host():
    """The module vmdk_executor: create, Opened."""
    return beside(__file__)("vmdk_executor")


@pytest.fixture
def agree(host, programs):
    """A function that asserts that an image reads here as it does for qemu-img, and returns its content."""

    def compare(path):
        said = programs.answer("info", path)
        data = said["format-specific"]["data"]
        with host.Opened(path) as opened:
            info = opened.info
            assert info.virtual_size == said["virtual-size"]
            assert info.cluster_size == said.get("cluster-size", 0)
            assert (info.dirty is None) == ("dirty-flag" not in said)
            shown = json.loads(json.dumps(info.details))
            for extent in shown["extents"]:
                extent["filename"] = str(path.parent / extent["filename"]) if extent["filename"] else str(path)
            # Compared as text: the order of keys counts too.
            assert json.dumps(shown) == json.dumps(data)
            content = opened.content()
            if not any(part["format"] in ("FLAT", "VMFS") for part in data["extents"]):
                assert opened.ranges() == programs.answer("map", path)
        assert content == programs.content(path)
        return content

    return compare


@pytest.fixture
def descriptor(tmp_path):
    """A function that writes a descriptor of a kind with these extent lines, and returns its path."""

    def write(kind, *lines, name="disk.vmdk"):
        path = tmp_path / name
        path.write_text(TEXT % kind + "\n".join(lines) + "\n")
        return path

    return write
