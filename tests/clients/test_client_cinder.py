"""Cinder's own functions that run qemu-img get from instar what they get from qemu-img.

Nova and Cinder register options of the same names: each needs a process of its own.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

if "nova" in sys.modules:
    pytest.skip("cinder cannot be imported beside nova: run this file alone", allow_module_level=True)
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    pytest.importorskip("cinder", reason="cinder is not installed")
    from cinder import objects

    objects.register_all()
    image_utils = pytest.importorskip("cinder.image.image_utils", reason="cinder cannot be imported")
    from cinder import utils as cinder_utils
    from cinder.privsep import format_inspector
    from cinder.volume.drivers import remotefs
    from oslo_concurrency import processutils

pytestmark = [pytest.mark.oracle, pytest.mark.filterwarnings("ignore")]
Both = Callable[..., list[Any]]
CIPHER = {"cipher_alg": "aes-256", "cipher_mode": "xts", "ivgen_alg": "plain64"}


@pytest.fixture(autouse=True)
def unprivileged(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing runs as root, and no daemon is asked to look at images."""

    def execute(*words: str, run_as_root: bool = False, **more: Any) -> tuple[str, str]:
        told: tuple[str, str] = processutils.execute(*words, **more)
        return told

    monkeypatch.setattr(cinder_utils, "execute", execute)
    context = format_inspector.cinder.privsep.sys_admin_pctxt
    monkeypatch.setattr(context, "client_mode", False)
    monkeypatch.setattr(image_utils, "QEMU_IMG_VERSION", None)
    image_utils.CONF.set_override("image_conversion_dir", str(tmp_path))


def seen(info: Any) -> dict[str, Any]:
    names = ("file_format", "virtual_size", "cluster_size", "encrypted", "snapshots")
    found = {name: getattr(info, name) for name in names}
    data = (info.format_specific or {}).get("data", {})
    return {**found, "type": data.get("create-type"), "data-file": data.get("data-file")}


def info(path: Path) -> Any:
    return image_utils.qemu_img_info(str(path), run_as_root=False, force_share=True, allow_qcow2_backing_file=True)


@pytest.mark.parametrize(
    "name", ["disk.qcow2", "top.qcow2", "disk.raw", "stream.vmdk", "disk.vhdx", "disk.vdi", "disk.vpc"]
)
def test_qemu_img_info(name: str, both: Both) -> None:
    here, there = both(lambda folder: seen(info(folder / name)))
    if isinstance(there, tuple):
        assert name == "disk.vpc"  # Cinder calls it vhd, which is no format of qemu-img
        assert (here[0], "Unknown driver 'vhd'" in here[1]) == (there[0], "Unknown driver 'vhd'" in there[1])
        assert "Unknown driver 'vhd'" in here[1]
    else:
        assert here == there


@pytest.mark.parametrize(
    ("name", "format"), [("disk.qcow2", "qcow2"), ("disk.raw", "raw"), ("stream.vmdk", "vmdk"), ("disk.raw", "qcow2")]
)
def test_check_image_format(name: str, format: str, both: Both) -> None:
    here, there = both(
        lambda folder: image_utils.check_image_format(str(folder / name), format, "id", None, run_as_root=False)
    )
    assert here == there
    assert (here is None) == (name.endswith(format) or format == "vmdk")


def test_the_version_is_read_and_compared(both: Both, monkeypatch: pytest.MonkeyPatch) -> None:
    def version(folder: Path) -> bool:
        monkeypatch.setattr(image_utils, "QEMU_IMG_VERSION", None)
        image_utils.check_qemu_img_version("2.10.0")
        return len(image_utils.get_qemu_img_version()) >= 2

    assert both(version) == [True, True]


@pytest.mark.parametrize(
    ("source", "format", "target", "more"),
    [
        ("disk.qcow2", "qcow2", "raw", {}),
        ("disk.raw", "raw", "qcow2", {"compress": True}),
        ("disk.raw", "raw", "vmdk", {"out_subformat": "streamOptimized"}),
        ("disk.raw", "raw", "vhd", {}),
        ("stream.vmdk", "vmdk", "raw", {"disable_sparse": True}),
        ("disk.vhdx", "vhdx", "raw", {}),
    ],
)
def test_convert_image(
    source: str, format: str, target: str, more: dict[str, Any], both: Both, same: Callable[..., None]
) -> None:
    def convert(folder: Path) -> None:
        image_utils.convert_image(
            str(folder / source), str(folder / "new"), target, src_format=format, run_as_root=False, **more
        )

    assert both(convert) == [None, None]
    written = {"vhd": "vpc"}.get(target, target)
    same("new", "-f", written, "-F", written)


def test_convert_image_to_luks(both: Both, disk: Path) -> None:
    def convert(folder: Path) -> dict[str, Any]:
        image_utils.convert_image(
            str(folder / "disk.raw"),
            str(folder / "sealed"),
            "luks",
            src_format="raw",
            run_as_root=False,
            cipher_spec=CIPHER,
            passphrase_file=str(folder / "passphrase"),
        )
        data = image_utils.qemu_img_info(str(folder / "sealed"), run_as_root=False)
        told: dict[str, Any] = data.format_specific["data"]
        return {**seen(data), **{key: told[key] for key in ("cipher-alg", "cipher-mode", "ivgen-alg", "hash-alg")}}

    here, there = both(convert)
    assert here == there and here["file_format"] == "raw"


def test_resize_image(both: Both) -> None:
    def resize(folder: Path) -> list[int]:
        image_utils.resize_image(str(folder / "disk.qcow2"), 1, file_format="qcow2")
        image_utils.resize_image(str(folder / "disk.raw"), 1, file_format="raw")
        image_utils.resize_image(str(folder / "disk.qcow2"), 2)
        return [info(folder / name).virtual_size for name in ("disk.qcow2", "disk.raw")]

    assert both(resize) == [[2 << 30, 1 << 30]] * 2
    here, there = both(lambda folder: image_utils.resize_image(str(folder / "disk.qcow2"), 1, file_format="qcow2"))
    assert here[0] == there[0] == "ProcessExecutionError"
    assert "--shrink" in here[1] and "--shrink" in there[1]


class Driver(remotefs.RemoteFSSnapDriverBase):
    """What of a driver the functions below need."""

    def __init__(self) -> None:
        self._execute_as_root = False

    def _execute(self, *words: str, **more: Any) -> Any:
        more.pop("run_as_root", None)
        return processutils.execute(*words, **more)

    def _delete(self, path: str) -> None:
        Path(path).unlink()


def test_a_driver_of_shared_folders_makes_rebases_and_commits_images(both: Both, same: Callable[..., None]) -> None:
    def act(folder: Path) -> str:
        driver = Driver()
        driver._create_qcow2_file(str(folder / "new"), 1)
        driver._rebase_img(str(folder / "top.qcow2"), "disk.raw", "raw")
        backing = str(info(folder / "top.qcow2").backing_file)
        driver._rebase_img(str(folder / "top.qcow2"), "disk.qcow2", "qcow2")
        driver._img_commit(str(folder / "top.qcow2"))
        return Path(backing).name

    assert both(act) == ["disk.raw", "disk.raw"]
    same("new")
    same("disk.qcow2")


def test_a_driver_commits_an_encrypted_image(
    both: Both, same: Callable[..., None], img: Callable[[str], bytes], tmp_path: Path
) -> None:
    for folder in ("here", "there"):
        secret = f"--object secret,id=s,file={tmp_path / folder / 'passphrase'}"
        options = "-o encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10"
        base, top = tmp_path / folder / "base", tmp_path / folder / "top"
        img(f"convert -f raw -O qcow2 {secret} {options} {tmp_path / folder / 'disk.raw'} {base}")
        img(f"create -q -f qcow2 {secret} {options} -u -b {base} -F qcow2 {top} 4M")

    def act(folder: Path) -> None:
        driver, passphrase = Driver(), str(folder / "passphrase")
        driver._rebase_img(str(folder / "top"), "base", "qcow2", passphrase_file=passphrase)
        driver._img_commit(str(folder / "top"), passphrase_file=passphrase, backing_file=str(folder / "base"))

    assert both(act) == [None, None]
    img(
        f"compare --object secret,id=s,file={tmp_path / 'here' / 'passphrase'} --image-opts "
        f"driver=qcow2,encrypt.key-secret=s,file.filename={tmp_path / 'here' / 'base'} "
        f"driver=raw,file.filename={tmp_path / 'here' / 'disk.raw'}"
    )


class Service:
    """The image service: one image that is downloaded, and what is uploaded."""

    def __init__(self, path: Path, **meta: Any) -> None:
        self.path = path
        self.meta = {"id": "an-id", "container_format": "bare", "size": path.stat().st_size, **meta}
        self.uploaded = b""
        self.temp_images: dict[str, Any] = {}

    def show(self, context: Any, image_id: str) -> dict[str, Any]:
        return self.meta

    def download(self, context: Any, image_id: str, file: Any) -> None:
        file.write(self.path.read_bytes())

    def update(self, context: Any, image_id: str, meta: Any, file: Any, **_: Any) -> None:
        self.uploaded = file.read()


@pytest.fixture
def context(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A request's context; nothing is read or written in threads of Cinder's own."""
    monkeypatch.setattr(image_utils.tpool, "Proxy", lambda file: file)
    return type("Context", (), {"user_id": "u", "project_id": "p", "elevated": lambda self: self})()


@pytest.mark.parametrize(
    ("name", "kind", "target"),
    [
        ("disk.qcow2", "qcow2", "raw"),
        ("stream.vmdk", "vmdk", "raw"),
        ("disk.vdi", "vdi", "raw"),
        ("disk.raw", "raw", "qcow2"),
        ("disk.raw", "raw", "raw"),
    ],
)
def test_a_volume_is_filled_from_an_image(
    name: str, kind: str, target: str, both: Both, same: Callable[..., None], context: Any
) -> None:
    def fill(folder: Path) -> None:
        service = Service(folder / name, disk_format=kind)
        image_utils.fetch_to_volume_format(
            context, service, "an-id", str(folder / "volume"), target, "1M", size=1, run_as_root=False
        )

    assert both(fill) == [None, None]
    same("volume", "-f", target, "-F", target)


@pytest.mark.parametrize(
    ("name", "kind", "good"),
    [("disk.qcow2", "qcow2", True), ("top.qcow2", "qcow2", False), ("stream.vmdk", "vmdk", True)],
)
def test_an_image_that_is_downloaded_is_judged(name: str, kind: str, good: bool, both: Both, context: Any) -> None:
    def judge(folder: Path) -> None:
        service = Service(folder / name, disk_format=kind)
        image_utils.fetch_verify_image(context, service, "an-id", str(folder / "fetched"))

    here, there = both(judge)
    assert here == there
    assert good or here[0] in ("Invalid", "ImageUnacceptable")


@pytest.mark.parametrize("kind", ["qcow2", "vmdk", "vdi", "vhd"])
def test_a_volume_becomes_an_image(kind: str, both: Both, context: Any, same: Callable[..., None]) -> None:
    def upload(folder: Path) -> None:
        service = Service(folder / "disk.raw", disk_format=kind)
        image_utils.upload_volume(
            context, service, service.meta, str(folder / "disk.raw"), run_as_root=False, compress=kind == "qcow2"
        )
        (folder / "uploaded").write_bytes(service.uploaded)

    here, there = both(upload)
    assert (here and here[0]) == (there and there[0])  # Cinder asks for the format vhd, which qemu-img does not know
    if here is None:
        same("uploaded", "-f", kind, "-F", kind)
