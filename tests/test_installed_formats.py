"""What is installed works, and what is not is named: run with none, some and all plugins."""

from __future__ import annotations

import hashlib
import os

import pytest

import instar_core as instar
from instar_core import registry, signatures
from instar_core.cli.main import main

PLUGINS = (
    "bochs", "cloop", "dmg", "iso", "luks", "parallels", "qcow", "qcow2", "qed", "vdi", "vhdx", "vmdk", "vpc",
)  # fmt: skip
WRITABLE = ("parallels", "qcow", "qcow2", "qed", "vdi", "vhdx", "vmdk", "vpc")
SIZE = 3 << 20
CONTENT = (b"\xfa\x33\xc0" + bytes(507) + b"\x55\xaa") + bytes(1 << 20) + b"content of a disk" * 4096
INSTALLED = frozenset(registry.entries())


def needs(format: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(format not in INSTALLED, reason=f"instar-{format} is not installed")


def lacks(format: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(format in INSTALLED, reason=f"instar-{format} is installed")


@pytest.fixture
def disk(tmp_path):
    path = tmp_path / "disk.raw"
    path.write_bytes(CONTENT)
    os.truncate(path, SIZE)
    return path


def digest(path, **how):
    with instar.open(str(path), **how) as opened:
        return hashlib.sha256(opened.read()).hexdigest()


def test_raw_is_always_there():
    assert registry.spec("raw").name == "raw"


def test_every_installed_format_loads():
    assert [(entry.name, reason) for entry, _, reason in registry.formats() if reason] == []


@pytest.mark.parametrize("format", [pytest.param(name, marks=needs(name)) for name in WRITABLE])
def test_an_installed_format_writes_and_reads_back(format, disk, tmp_path):
    made = str(tmp_path / "made")
    instar.convert([str(disk)], made, source_format="raw", target_format=format)
    (info,) = instar.info(made)
    assert (info.image.format, info.image.virtual_size >= SIZE) == (format, True)  # vpc rounds up to cylinders
    assert instar.compare(made, str(disk), second_format="raw").identical


@needs("qcow2")
@needs("vmdk")
def test_installed_formats_convert_into_one_another(disk, tmp_path):
    between, last = str(tmp_path / "x.vmdk"), str(tmp_path / "x.qcow2")
    instar.convert([str(disk)], between, source_format="raw", target_format="vmdk")
    instar.convert([between], last, target_format="qcow2")
    assert instar.compare(between, last).identical
    assert digest(last) == digest(disk, format="raw")


@pytest.mark.parametrize("format", [pytest.param(name, marks=lacks(name)) for name in PLUGINS])
def test_an_absent_plugin_is_named_where_its_format_is_asked_for(format, tmp_path, capsys):
    with pytest.raises(instar.NotInstalled, match=f"needs instar-{format}, which is not installed"):
        instar.create(str(tmp_path / "x"), format=format, size=1 << 20)
    assert main(["instar", "create", "-f", format, str(tmp_path / "x"), "1M"]) == 1
    assert f"instar-{format}" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


def sample(format, path):
    """A file that shows every sign of the format that the core looks for, and nothing else."""
    known = next(known for known in signatures.KNOWN if known.format == format)
    sign = known.signatures[0]
    data = bytearray(128 << 10)
    at = sign.offset if sign.offset >= 0 else len(data) + sign.offset
    data[at : at + len(sign.magic)] = sign.magic
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("format", [pytest.param(name, marks=lacks(name)) for name in PLUGINS])
def test_an_image_whose_plugin_is_absent_is_named_and_never_raw(format, tmp_path, capsys):
    image = sample(format, tmp_path / "x")
    with pytest.raises(instar.NotInstalled, match=f"this is {format}; instar-{format} is not installed"):
        instar.info(str(image))
    assert main(["instar", "convert", "-O", "raw", str(image), str(tmp_path / "raw")]) == 1
    assert f"this is {format}; instar-{format} is not installed" in capsys.readouterr().err
    assert not (tmp_path / "raw").exists()


def test_every_format_that_has_a_plugin_is_tried_here():
    assert set(PLUGINS) == {known.format for known in signatures.KNOWN if known.distribution}
