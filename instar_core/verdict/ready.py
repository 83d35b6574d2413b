"""Ready demands: what each platform tests by hand before it takes an image from outside. docs/inspect.md has the
sources."""

from __future__ import annotations

from instar_core.errors import UsageError
from instar_core.limits import GIB
from instar_core.verdict.demands import Demands, Soundness

SPARSE = ("streamOptimized", "monolithicSparse")
"""VMDK types that are one file and name no other: the default of vmdk_allowed_types in Glance, Nova and Cinder."""

EXPANSION = 1000
"""About what deflate can do at best (1032): more is not one disk stored once."""

READY = {
    "openstack": Demands(
        "openstack",
        formats=("raw", "qcow2", "vmdk", "vdi", "vhdx", "vpc", "iso", "luks"),
        vmdk_types=SPARSE,
        features=("extended-l2", "version=2"),
        stored_size=1024 * GIB,
        expansion=EXPANSION,
        cpu=60,
        memory=GIB,
    ),
    "proxmox": Demands("proxmox", formats=("raw", "qcow2", "vmdk", "iso"), expansion=EXPANSION),
    "ovirt": Demands("ovirt", formats=("raw", "qcow2", "iso"), expansion=EXPANSION, cpu=30, memory=GIB),
    "strict": Demands(
        "strict",
        formats=("raw", "qcow2", "vmdk", "vdi", "vhdx", "vpc"),
        vmdk_types=SPARSE,
        features=("extended-l2",),
        references="strict",
        encrypted=False,
        snapshots=0,
        bitmaps=0,
        virtual_size=64 * 1024 * GIB,
        expansion=EXPANSION // 4,
        alignment=512,
        check=Soundness.LEAKS,
        cpu=60,
        memory=GIB,
    ),
}
"""By the names of the image policies for the same platforms."""


def named(name: str) -> Demands:
    """The ready demands of this name. Raises UsageError where there are none."""
    found = READY.get(name)
    if found is None:
        raise UsageError(f"policy '{name}' does not exist; there are {', '.join(READY)}, and files")
    return found
