"""The expandable image format of Parallels and of ploop: what the plugin is, as data. Importing this parses nothing."""

from __future__ import annotations

from instar_core.types import Capability, FormatSpec, Option, Signature

SPEC = FormatSpec(
    name="parallels",
    hooks="instar_parallels.hooks",
    title="Parallels and ploop disk",
    api=(1, 0),
    suffixes=(".hdd", ".hds"),
    signatures=(Signature(b"WithoutFreeSpace"), Signature(b"WithouFreSpacExt")),
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
        Option("cluster_size", "size", "Parallels image cluster size", "1048576"),
    ),
    preload={
        "map": ("instar_parallels.map",),
        "check": ("instar_parallels.check",),
        "write": (
            "instar_parallels.write",
            "instar_parallels.repair",
            "instar_parallels.update",
            "instar_parallels.resize",
        ),
    },
)
"""Create options stand in the order in which qemu-img names them in its `Formatting` line."""
