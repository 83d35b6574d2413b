"""The tiny host that applies a writer's edits, and the foreign programs that judge."""

from __future__ import annotations

import json
import os
import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from instar_core.testing import foreign
from instar_core.testing.beside import beside

VARIABLES = {"qemu-img": "INSTAR_QEMU_IMG", "qemu-io": "INSTAR_QEMU_IO"}
SECRET = ("--object", "secret,id=s,data=abc")
"""The passphrase of every encrypted image here."""


def pytest_collection_modifyitems(items):
    foreign.skip_where_old(items, Path(__file__).parent)


class Programs:
    """Foreign programs; asking for one that is missing skips the test."""

    def __init__(self):
        self.known = {}

    def find(self, name):
        found = os.environ.get(VARIABLES.get(name, "")) or shutil.which(name)
        if not found:
            pytest.skip(f"{name} is not installed")
        return found

    def run(self, *command, check=True, cwd=None):
        done = subprocess.run([str(word) for word in command], capture_output=True, check=False, cwd=cwd)
        if check and done.returncode:
            pytest.fail(f"{command}: {done.stderr.decode(errors='replace')}")
        return done

    def qemu(self, name):
        """The program, once it has said that it is QEMU's: another that answers to its name proves nothing."""
        if name not in self.known:
            found = self.find(name)
            if b"QEMU Project" not in self.run(found, "--version").stdout:
                pytest.skip(f"{found} is not a program of QEMU")
            self.known[name] = found
        return self.known[name]

    def img(self, *arguments, check=True, cwd=None):
        return self.run(self.qemu("qemu-img"), *arguments, check=check, cwd=cwd)

    def io(self, path, *commands, locked=False):
        given = [part for command in commands for part in ("-c", command)]
        return self.run(self.qemu("qemu-io"), *given, *image(path, locked))

    def answer(self, verb, path, *, locked=False):
        return json.loads(self.img(verb, "--output=json", *image(path, locked)).stdout)

    def content(self, path, *, locked=False):
        """The disk as qemu-img converts it."""
        target = Path(path).with_name("converted.raw")
        self.img("convert", "-O", "raw", *image(path, locked), target)
        return target.read_bytes()


def image(path, locked):
    """The words that name an image of this format, with its secret where it has one."""
    if locked:
        return (*SECRET, "--image-opts", f"driver=qcow,encrypt.key-secret=s,file.filename={path}")
    return ("-f", "qcow", path)


@pytest.fixture(scope="session")
def programs():
    return Programs()


@pytest.fixture(scope="session")
def host():
    """The module qcow_executor: create, Opened."""
    return beside(__file__)("qcow_executor")


@pytest.fixture
def agree(host, programs):
    """A function that asserts that an image without a parent reads here as for qemu-img, and returns its content."""

    def compare(path, *, locked=False):
        said = programs.answer("info", path)
        with host.Opened(path) as opened:
            assert opened.info.virtual_size == said["virtual-size"]
            assert opened.info.cluster_size == said["cluster-size"]
            assert opened.info.encrypted == said.get("encrypted", False) == locked
            assert opened.info.dirty is said["dirty-flag"] is False
            assert opened.ranges() == programs.answer("map", path, locked=locked)
            content = opened.content()
        assert content == programs.content(path, locked=locked)
        return content

    return compare


@pytest.fixture(scope="session")
def builder():
    """A function that builds an image from its description alone: clusters in the given order, filled with a mark."""

    def build(size, clusters, cluster_bits, l2_bits, *, backing=b"", crypt=0):
        covered = 1 << l2_bits
        l1_entries = -(-size >> cluster_bits + l2_bits)
        l1_at = 48 + len(backing) + 7 & ~7
        end = l1_at + 8 * l1_entries
        end += -end % (1 << cluster_bits)
        l1, tables, body = [0] * l1_entries, {}, b""
        for index in sorted({number >> l2_bits for number in clusters}):
            l1[index], tables[index] = end, [0] * covered
            end += 8 * covered
        end += -end % (1 << cluster_bits)
        first = end
        for number, mark in clusters.items():
            tables[number >> l2_bits][number % covered] = end
            body += mark * (1 << cluster_bits)
            end += 1 << cluster_bits
        place = 48 if backing else 0
        fields = (1, place, len(backing), 0, size, cluster_bits, l2_bits, 0, crypt, l1_at)
        made = b"QFI\xfb" + struct.pack(">IQIIQBBHIQ", *fields) + backing
        made = made.ljust(l1_at, b"\0") + struct.pack(f">{l1_entries}Q", *l1)
        for index, entries in tables.items():
            made = made.ljust(l1[index], b"\0") + struct.pack(f">{covered}Q", *entries)
        return made.ljust(first, b"\0") + body

    return build
