"""The VDI format of VirtualBox: what the plugin is, as data. Importing this parses nothing."""

from __future__ import annotations

from instar_core.types import Capability, FormatSpec, Option, Signature

SPEC = FormatSpec(
    name="vdi",
    hooks="instar_vdi.hooks",
    title="VirtualBox disk image",
    api=(1, 0),
    suffixes=(".vdi",),
    signatures=(Signature(b"\x7f\x10\xda\xbe", 0x40),),
    capabilities=frozenset(
        {
            Capability.READ,
            Capability.CREATE,
            Capability.FILL,
            Capability.MEASURE,
            Capability.CHECK,
            Capability.UPDATE,
            Capability.RESIZE,
            Capability.REPAIR,
        },
    ),
    options=(
        Option("size", "size", "Virtual disk size"),
        Option("static", "bool", "VDI static (pre-allocated) image", "off"),
    ),
    preload={
        "map": ("instar_vdi.map",),
        "check": ("instar_vdi.check",),
        "write": ("instar_vdi.write", "instar_vdi.repair", "instar_vdi.update", "instar_vdi.resize"),
    },
)
"""Create options stand in the order in which qemu-img names them in its `Formatting` line."""
