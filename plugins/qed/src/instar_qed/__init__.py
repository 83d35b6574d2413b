"""QED, the QEMU enhanced disk: what the plugin is, as data. Importing this parses nothing."""

from __future__ import annotations

from instar_core.types import Capability, FormatSpec, Option, Signature

SPEC = FormatSpec(
    name="qed",
    hooks="instar_qed.hooks",
    title="QEMU enhanced disk",
    api=(1, 0),
    suffixes=(".qed",),
    signatures=(Signature(b"QED\0"),),
    capabilities=frozenset(
        {
            Capability.READ,
            Capability.CREATE,
            Capability.FILL,
            Capability.MEASURE,
            Capability.CHECK,
            Capability.REPAIR,
            Capability.BACKING,
            Capability.UPDATE,
            Capability.RESIZE,
            Capability.REBASE,
            Capability.EMPTY,
        }
    ),
    options=(
        Option("size", "size", "Virtual disk size"),
        Option("backing_file", "str", "File name of a base image"),
        Option("backing_fmt", "str", "Image format of the base image"),
        Option("cluster_size", "size", "Cluster size (in bytes)", "65536"),
        Option("table_size", "size", "L1/L2 table size (in clusters)"),
    ),
    preload={
        "map": ("instar_qed.map",),
        "check": ("instar_qed.check",),
        "write": (
            "instar_qed.write",
            "instar_qed.repair",
            "instar_qed.update",
            "instar_qed.resize",
            "instar_qed.rebase",
            "instar_qed.empty",
        ),
    },
)
"""Create options stand in the order in which qemu-img names them in its `Formatting` line."""
