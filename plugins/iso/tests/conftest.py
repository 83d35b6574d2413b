"""Volumes made by genisoimage, and by a builder of our own."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from instar_core.testing import foreign
from instar_core.testing.beside import beside

WAYS = {
    "plain": (),
    "joliet and rock ridge": ("-J", "-R"),
    "bootable": ("-b", "boot.bin", "-no-emul-boot", "-boot-load-size", "4"),
    "many folders": ("-iso-level", "3"),
}


def pytest_collection_modifyitems(items):
    foreign.skip_where_old(items, Path(__file__).parent)


@pytest.fixture(scope="session")
def builder():
    """The module iso_builder."""
    return beside(__file__)("iso_builder")


@pytest.fixture(scope="session")
def volumes(tmp_path_factory):
    """Paths of volumes that genisoimage made, by kind."""
    program = shutil.which("genisoimage")
    if program is None:
        pytest.skip("genisoimage is not installed")
    folder = tmp_path_factory.mktemp("volumes")
    tree = folder / "tree"
    for number in range(40):
        (tree / f"folder{number % 7}" / f"deeper{number}").mkdir(parents=True)
        (tree / f"folder{number % 7}" / f"deeper{number}" / "file").write_bytes(bytes([number]) * 1000)
    (tree / "boot.bin").write_bytes(b"\xeb\xfe" * 1000)
    made = {}
    for name, options in WAYS.items():
        path = folder / f"{name.replace(' ', '-')}.iso"
        command = [program, "-quiet", "-V", "A_VOLUME", *options, "-o", path, tree]
        subprocess.run(command, check=True, capture_output=True)
        made[name] = path
    return made
