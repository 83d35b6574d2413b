"""What Proxmox VE relies on beyond qemu-img's own promises: the calls of PVE::Storage, under its image policy."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from instar_core import registry
from instar_core.types import Capability

Call = Callable[..., tuple[int, str, str]]
CREATABLE = [
    entry.name
    for entry, spec, _ in registry.formats()
    if spec is not None and Capability.CREATE in spec.capabilities and entry.name != "luks"
]


@pytest.fixture
def proxmox(instar: Call, monkeypatch: pytest.MonkeyPatch) -> Call:
    monkeypatch.setenv("INSTAR_IMAGE_POLICY", "proxmox")
    return instar


@pytest.mark.parametrize("format", CREATABLE)
def test_an_image_without_snapshots_is_no_error(proxmox: Call, format: str) -> None:
    """pve-qemu has a patch of that name."""
    assert proxmox("create", "-q", "-f", format, "--", "image", "4096K") == (0, "", "")
    for words in (["-l"], ["-l", "-f", format], []):
        assert proxmox("snapshot", *words, "image") == (0, "", "")
    code, out, err = proxmox("info", "--output=json", "-f", format, "--", "image")
    assert (code, err) == (0, "") and "snapshots" not in json.loads(out)
    code, out, err = proxmox("info", "-f", format, "image")
    assert (code, err) == (0, "") and "Snapshot list" not in out


def test_an_image_whose_last_snapshot_went_is_one_without(proxmox: Call) -> None:
    if "qcow2" not in registry.entries():
        pytest.skip("instar-qcow2 is not installed")
    proxmox("create", "-q", "-f", "qcow2", "image", "4M")
    assert proxmox("snapshot", "-c", "one", "image") == (0, "", "")
    assert "one" in proxmox("snapshot", "-l", "image")[1]
    assert json.loads(proxmox("info", "--output=json", "image")[1])["snapshots"][0]["name"] == "one"
    assert proxmox("snapshot", "-d", "one", "image") == (0, "", "")
    assert proxmox("snapshot", "-l", "image") == (0, "", "")
    assert "snapshots" not in json.loads(proxmox("info", "--output=json", "image")[1])


def test_an_image_that_is_not_there_prints_nothing_but_an_error(proxmox: Call) -> None:
    """By that PVE::Storage knows it: an error without any JSON. It takes the exit code for a warning."""
    code, out, err = proxmox("info", "--output=json", "--", "absent")
    assert (code, out) == (1, "")
    assert err == "qemu-img: Could not open 'absent': Could not open 'absent': No such file or directory\n"
