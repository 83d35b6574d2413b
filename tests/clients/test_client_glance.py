"""Glance's way to call qemu-img: its limits of one GiB and two seconds, and that any word on stderr is a failure."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    pytest.importorskip("glance", reason="glance is not installed")
    utils = pytest.importorskip("glance.async_.utils", reason="glance cannot be imported")
    from oslo_concurrency import processutils

pytestmark = [pytest.mark.oracle, pytest.mark.filterwarnings("ignore")]
Both = Callable[..., list[Any]]


@pytest.mark.parametrize(
    ("name", "format"),
    [("disk.qcow2", "qcow2"), ("disk.raw", "raw"), ("stream.vmdk", "vmdk"), ("disk.vhdx", "vhdx"), ("disk.vdi", "vdi")],
)
def test_info_under_the_limits_says_nothing_on_stderr(name: str, format: str, both: Both) -> None:
    def info(folder: Path) -> dict[str, Any]:
        words = ("qemu-img", "info", "-f", format, "--output=json", name)
        out, err = processutils.trycmd(*words, prlimit=utils.QEMU_IMG_PROC_LIMITS)
        assert err == ""
        found: dict[str, Any] = json.loads(out)
        found.pop("actual-size")
        found.pop("children")
        return found

    here, there = both(info)
    assert here == there


def test_conversion_as_the_import_flows_do_it(both: Both, same: Callable[..., None]) -> None:
    def convert(folder: Path) -> tuple[str, str]:
        told = processutils.trycmd("qemu-img", "convert", "-f", "vmdk", "-O", "raw", "stream.vmdk", "new")
        url = f"file://{folder}/disk.qcow2"
        second = processutils.trycmd("qemu-img", "convert", "-f", "qcow2", "-O", "qcow2", url, "more")
        return told[1], second[1]

    assert both(convert) == [("", ""), ("", "")]
    same("new", "-f", "raw", "-F", "raw")
    same("more")


class Action:
    """What the flow of an import tells of its image."""

    image_id = "an-id"

    def __init__(self, format: str) -> None:
        self.image_disk_format = format
        self.told: dict[str, Any] = {}

    def __enter__(self) -> Action:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def set_image_attribute(self, **facts: Any) -> None:
        self.told.update(facts)


@pytest.mark.parametrize(
    ("name", "format", "target"),
    [
        ("disk.qcow2", "qcow2", "raw"),
        ("stream.vmdk", "vmdk", "raw"),
        ("disk.vdi", "vdi", "qcow2"),
        ("disk.vhdx", "vhdx", "qcow2"),
        ("disk.raw", "raw", "qcow2"),
        ("top.qcow2", "qcow2", "raw"),
        ("disk.raw", "qcow2", "raw"),
        ("disk.vmdk", "vmdk", "raw"),
    ],
)
def test_the_import_plugin_that_converts(
    name: str, format: str, target: str, both: Both, same: Callable[..., None]
) -> None:
    plugin = pytest.importorskip("glance.async_.flows.plugins.image_conversion", reason="glance cannot be imported")
    pytest.importorskip("glance.common.config", reason="glance has no settings")
    plugin.CONF.set_override("output_format", target, group="image_conversion")

    def run(folder: Path) -> tuple[str, dict[str, Any]]:
        action = Action(format)
        flow = plugin._ConvertImage(None, "task", "api_image_import", action, [])
        place = flow.execute(f"file://{folder / name}")
        made = Path(place.removeprefix("file://"))
        made.rename(folder / "made")
        action.told.pop("size", None)
        return made.name, action.told

    here, there = both(run)
    assert here == there
    if here[0] != "RuntimeError":
        same("made", "-f", target, "-F", target)
    else:
        assert name in ("top.qcow2", "disk.vmdk") or format != name.rpartition(".")[2]
