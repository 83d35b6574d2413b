"""ovirt-imageio's own wrapper of qemu-img, and its client, find in instar what they find in qemu-img."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

qemu_img = pytest.importorskip("ovirt_imageio._internal.qemu_img", reason="ovirt-imageio is not installed")
pytestmark = pytest.mark.oracle
Both = Callable[..., list[Any]]


def told(info: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in info.items() if key not in ("actual-size", "children")}


@pytest.mark.parametrize(
    ("format", "more"),
    [
        ("raw", {"size": 1 << 20}),
        ("qcow2", {"size": 1 << 20, "quiet": True}),
        ("qcow2", {"backing_file": "disk.qcow2", "backing_format": "qcow2"}),
        ("qcow2", {"size": 8 << 20, "backing_file": "disk.raw", "backing_format": "raw", "quiet": True}),
        ("raw", {}),
    ],
)
def test_create_makes_the_same_image(
    format: str, more: dict[str, Any], both: Both, same: Callable[..., None], capfd: pytest.CaptureFixture[str]
) -> None:
    here, there = both(lambda folder: qemu_img.create("new", format, **more))
    assert here == there
    lines = capfd.readouterr().out.splitlines()
    assert lines[: len(lines) // 2] == lines[len(lines) // 2 :]
    if here is None:
        same("new", "-f", format, "-F", format)


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize(("source", "format"), [("disk.raw", "raw"), ("top.qcow2", "qcow2")])
def test_convert_moves_the_same_content(
    source: str, format: str, compressed: bool, both: Both, same: Callable[..., None], capfd: pytest.CaptureFixture[str]
) -> None:
    here, there = both(
        lambda folder: qemu_img.convert(source, "new", format, "qcow2", progress=True, compressed=compressed)
    )
    assert here is there is None
    same("new")
    assert capfd.readouterr().out.count("(100.00/100%)\r") >= 2


def test_unsafe_rebase_info_measure_and_bitmap_add(both: Both) -> None:
    here, there = both(lambda folder: qemu_img.unsafe_rebase("top.qcow2", "disk.raw", "raw"))
    assert here is there is None
    here, there = both(lambda folder: qemu_img.bitmap_add("top.qcow2", "b0"))
    assert here is there is None
    for name in ("top.qcow2", "disk.raw", "disk.vmdk", "disk.qcow2"):
        here, there = both(lambda folder, name=name: qemu_img.info(name))
        assert told(here) == told(there)
    assert json.dumps(both(lambda folder: qemu_img.info("top.qcow2"))[0]).count("b0") == 1
    for name in ("top.qcow2", "disk.raw"):
        for format in ("raw", "qcow2"):
            here, there = both(lambda folder, name=name, format=format: qemu_img.measure(name, format))
            assert here == there and here["required"]


def test_compare_tells_four_outcomes_apart(both: Both) -> None:
    def outcomes(*words: str, **more: Any) -> list[Any]:
        return both(lambda folder: qemu_img.compare(*words, **more))

    assert outcomes("disk.raw", "disk.qcow2") == [None, None]
    strict = outcomes("disk.raw", "disk.qcow2", format1="raw", format2="qcow2", strict=True)
    assert [outcome[0] for outcome in strict] == ["ContentMismatch"] * 2  # where, they count differently
    for words, more in (
        (("disk.raw", "passphrase"), {"format1": "raw", "format2": "raw"}),
        (("disk.raw", "not-there"), {}),
        (("disk.raw", "disk.qcow2"), {"format1": "qcow2"}),
    ):
        here, there = outcomes(*words, **more)
        assert here == there and here[0] in ("ContentMismatch", "OpenImageError")


def test_the_client_asks_for_size_and_format(both: Both) -> None:
    client = pytest.importorskip("ovirt_imageio.client", reason="ovirt-imageio's client cannot be imported")
    for name in ("disk.qcow2", "disk.raw"):
        here, there = both(lambda folder, name=name: told(client.info(str(Path(folder) / name))))
        for found in (here, there):
            if isinstance(found, dict):
                found.pop("filename")
        assert here == there
