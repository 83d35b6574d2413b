"""Programs that share no code with qemu read what instar writes: 7-Zip, libqcow, libvmdk, dissect.

libqcow is not asked about compressed clusters, which it reads wrongly; 7-Zip not about zstd and streamOptimized,
which it cannot read.
"""

from __future__ import annotations

import hashlib
import importlib
import os
import random
import shutil
import subprocess
from pathlib import Path
from types import ModuleType

import pytest

import instar_core
from instar_core import registry

pytestmark = pytest.mark.oracle

QCOW2 = [{}, {"compat": "0.10", "cluster_size": "4k"}, {"cluster_size": "2M"}, {"preallocation": "metadata"}]
VMDK = ["monolithicSparse", "monolithicFlat", "twoGbMaxExtentSparse", "twoGbMaxExtentFlat", "streamOptimized"]


def needs(name: str) -> None:
    if name not in registry.entries():
        pytest.skip(f"instar-{name} is not installed")


def module(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError:
        pytest.skip(f"the Python module {name} is not installed")


def program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """5 MiB and a bit: random, constant and empty stretches, in no order."""
    random_ = random.Random(11)
    path = tmp_path_factory.mktemp("disk") / "disk.raw"
    parts = []
    for _ in range(83):
        shape = random_.random()
        size = random_.randrange(1, 33) * 4096
        parts.append(
            random_.randbytes(size)
            if shape < 0.4
            else bytes([random_.randrange(256)]) * size
            if shape < 0.6
            else bytes(size)
        )
    data = b"".join(parts)
    path.write_bytes(data[: len(data) // 65536 * 65536])
    return path


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def made(disk: Path, folder: Path, format: str, options: dict[str, str], compress: bool = False) -> Path:
    target = folder / f"made.{format}"
    instar_core.convert(
        [str(disk)], str(target), source_format="raw", target_format=format, options=options, compress=compress
    )
    return target


def by_7zip(image: Path) -> bytes:
    return subprocess.run([program("7z"), "e", "-so", str(image)], capture_output=True, check=True).stdout


@pytest.mark.parametrize("options", QCOW2)
@pytest.mark.parametrize("compress", [False, True])
def test_7zip_reads_qcow2(disk: Path, tmp_path: Path, options: dict[str, str], compress: bool) -> None:
    needs("qcow2")
    if compress and "preallocation" in options:
        options = {}
    assert digest(by_7zip(made(disk, tmp_path, "qcow2", options, compress))) == digest(disk.read_bytes())


@pytest.mark.parametrize("subformat", VMDK[:2])
def test_7zip_reads_vmdk(disk: Path, tmp_path: Path, subformat: str) -> None:
    needs("vmdk")
    assert digest(by_7zip(made(disk, tmp_path, "vmdk", {"subformat": subformat}))) == digest(disk.read_bytes())


@pytest.mark.parametrize("options", QCOW2)
def test_libqcow_reads_qcow2(disk: Path, tmp_path: Path, options: dict[str, str]) -> None:
    needs("qcow2")
    file = module("pyqcow").file()
    file.open(str(made(disk, tmp_path, "qcow2", options)))
    try:
        assert digest(file.read_buffer_at_offset(file.get_media_size(), 0)) == digest(disk.read_bytes())
    finally:
        file.close()


@pytest.mark.parametrize("options", [*QCOW2, {"compression_type": "zstd"}])
@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.filterwarnings("ignore")
def test_dissect_reads_qcow2(disk: Path, tmp_path: Path, options: dict[str, str], compress: bool) -> None:
    needs("qcow2")
    if options.get("compression_type") == "zstd":
        module("backports.zstd")
    if compress and "preallocation" in options:
        options = {}
    reader = module("dissect.hypervisor.disk.qcow2")
    with made(disk, tmp_path, "qcow2", options, compress).open("rb") as file:
        image = reader.QCow2(file)
        stream = image.open() if hasattr(image, "open") else image
        assert digest(stream.read()) == digest(disk.read_bytes())


@pytest.mark.parametrize("subformat", VMDK)
def test_libvmdk_names_size_and_kind_of_vmdk(disk: Path, tmp_path: Path, subformat: str) -> None:
    needs("vmdk")
    image = made(disk, tmp_path, "vmdk", {"subformat": subformat})
    said = subprocess.run(
        [program("vmdkinfo"), image.name], cwd=tmp_path, capture_output=True, text=True, check=True
    ).stdout
    assert str(os.stat(disk).st_size) in said
    kinds = {"twoGbMaxExtentSparse": "2GB extent sparse", "twoGbMaxExtentFlat": "2GB extent flat"}
    wanted = kinds.get(subformat, subformat)
    assert wanted.lower().replace(" ", "") in said.lower().replace(" ", "")


@pytest.mark.parametrize("subformat", ["monolithicSparse", "streamOptimized"])
@pytest.mark.filterwarnings("ignore")
def test_dissect_reads_vmdk(disk: Path, tmp_path: Path, subformat: str) -> None:
    needs("vmdk")
    reader = module("dissect.hypervisor.disk.vmdk")
    image = made(disk, tmp_path, "vmdk", {"subformat": subformat})
    with image.open("rb") as file:
        assert digest(reader.VMDK(file).read(os.stat(disk).st_size)) == digest(disk.read_bytes())
