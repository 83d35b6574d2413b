"""Nova's own functions that run qemu-img, with their limits and parsers, get the same from instar.

Nova and Cinder register options of the same names: each needs a process of its own.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

if "cinder" in sys.modules:
    pytest.skip("nova cannot be imported beside cinder: run this file alone", allow_module_level=True)
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    pytest.importorskip("nova", reason="nova is not installed")
    images = pytest.importorskip("nova.virt.images", reason="nova cannot be imported")
    utils = pytest.importorskip("nova.virt.libvirt.utils", reason="nova's libvirt driver cannot be imported")
    from nova.privsep import qemu as privsep
    from nova.virt.libvirt.driver import LibvirtDriver

pytestmark = [pytest.mark.oracle, pytest.mark.filterwarnings("ignore")]
Both = Callable[..., list[Any]]


@pytest.fixture(autouse=True)
def folder_of_instances(tmp_path: Path) -> None:
    images.CONF.set_override("instances_path", str(tmp_path))


def seen(info: Any) -> dict[str, Any]:
    names = ("file_format", "virtual_size", "cluster_size", "backing_file", "encrypted", "snapshots", "format_specific")
    return {name: getattr(info, name) for name in names}


@pytest.mark.parametrize(
    "name", ["disk.qcow2", "top.qcow2", "disk.raw", "disk.vmdk", "stream.vmdk", "disk.vhdx", "disk.vdi"]
)
@pytest.mark.parametrize("said", [True, False])
def test_qemu_img_info_under_its_limits(name: str, said: bool, both: Both) -> None:
    format = {"stream.vmdk": "vmdk"}.get(name, name.split(".")[1]) if said else None
    here, there = both(lambda folder: seen(images.qemu_img_info(str(folder / name), format)))
    assert not isinstance(there, tuple), there
    for found in (here, there):
        found["backing_file"] = found["backing_file"] and Path(found["backing_file"]).name
        for extent in (found["format_specific"] or {"data": {}})["data"].get("extents", ()):
            extent["filename"] = Path(extent["filename"]).name
    assert here == there


def test_what_goes_wrong_is_told_in_novas_exceptions(both: Both) -> None:
    for name, format in (("not-there", None), ("passphrase", "qcow2"), ("disk.raw", "vhd"), ("disk.raw", "vmdk")):
        here, there = both(lambda folder, name=name, format=format: images.qemu_img_info(str(folder / name), format))
        assert here[0] == there[0] in ("DiskNotFound", "InvalidDiskInfo")
    here, there = both(lambda folder: privsep.unprivileged_qemu_img_info(str(folder / "not-there")))
    assert here[0] == there[0] == "DiskNotFound"


@pytest.mark.parametrize(
    ("source", "format", "target", "compress"),
    [
        ("top.qcow2", "qcow2", "raw", False),
        ("disk.raw", "raw", "qcow2", True),
        ("stream.vmdk", "vmdk", "raw", False),
        ("disk.vhdx", "vhdx", "qcow2", False),
    ],
)
def test_convert_image(
    source: str, format: str, target: str, compress: bool, both: Both, same: Callable[..., None]
) -> None:
    def convert(folder: Path) -> None:
        images.convert_image(str(folder / source), str(folder / "new"), format, target, compress=compress)

    assert both(convert) == [None, None]
    same("new", "-f", target, "-F", target)


def test_convert_image_into_an_encrypted_one_and_back(both: Both, same: Callable[..., None]) -> None:
    sealed = {"secret": "open sesame", "format": "luks"}

    def there_and_back(folder: Path) -> None:
        images.convert_image(str(folder / "disk.raw"), str(folder / "sealed"), "raw", "qcow2", dest_encryption=sealed)
        images.convert_image(str(folder / "sealed"), str(folder / "new"), "qcow2", "raw", src_encryption=sealed)

    assert both(there_and_back) == [None, None]
    same("new", "-f", "raw", "-F", "raw")


def test_convert_image_of_the_wrong_format_is_unacceptable(both: Both) -> None:
    here, there = both(lambda folder: images.convert_image(str(folder / "disk.raw"), "new", "qcow2", "raw"))
    assert here[0] == there[0] == "ImageUnacceptable"
    assert "Image is not in qcow2 format" in here[1]
    assert "Image is not in qcow2 format" in there[1]


def test_create_image_over_a_base_and_alone(both: Both, same: Callable[..., None]) -> None:
    def create(folder: Path) -> None:
        utils.create_image(str(folder / "a"), "raw", 1 << 20)
        utils.create_image(str(folder / "b"), "qcow2", "8M", backing_file=str(folder / "disk.qcow2"))
        utils.create_image(str(folder / "c"), "qcow2", None, backing_file=str(folder / "stream.vmdk"))

    assert both(create) == [None, None]
    same("a", "-f", "raw", "-F", "raw")
    same("b")
    same("c")


def test_a_base_whose_clusters_are_too_large_fails_in_the_same_way(both: Both) -> None:
    here, there = both(
        lambda folder: utils.create_image(str(folder / "d"), "qcow2", None, backing_file=str(folder / "disk.vhdx"))
    )
    assert here[0] == there[0] == "ProcessExecutionError"
    assert "Cluster size must be a power of two between 512 and 2048k" in here[1]


def test_the_driver_rebases_a_disk(both: Both, same: Callable[..., None], img: Callable[[str], bytes]) -> None:
    def rebase(folder: Path) -> str:
        LibvirtDriver._rebase_with_qemu_img(str(folder / "top.qcow2"), "disk.raw")
        LibvirtDriver._rebase_with_qemu_img(str(folder / "top.qcow2"), None)
        return str(images.qemu_img_info(str(folder / "top.qcow2")).backing_file)

    assert both(rebase) == ["None", "None"]
    same("top.qcow2")


@pytest.mark.parametrize("format", ["qcow2", "raw"])
def test_a_disk_is_extended_and_never_shrunk(format: str, both: Both, monkeypatch: pytest.MonkeyPatch) -> None:
    api = pytest.importorskip("nova.virt.disk.api", reason="nova's disk functions cannot be imported")
    from nova.virt.image import model

    monkeypatch.setattr(api, "is_image_extendable", lambda image: False)

    def extend(folder: Path) -> list[int]:
        path = str(folder / f"disk.{format}")
        sizes = []
        for size in (8 << 20, 2 << 20):
            api.extend(model.LocalFileImage(path, format), size)
            sizes.append(images.qemu_img_info(path, format).virtual_size)
        return sizes

    assert both(extend) == [[8 << 20, 8 << 20]] * 2


def test_a_base_is_flattened_and_its_format_made_known(both: Both, same: Callable[..., None]) -> None:
    def convert(folder: Path) -> int:
        images.convert_image_unsafe(str(folder / "top.qcow2"), str(folder / "flat"), "raw")
        return int(images.qemu_img_info(str(folder / "flat"), "raw").virtual_size)

    assert both(convert) == [4 << 20, 4 << 20]
    same("flat", "-f", "raw", "-F", "raw")
