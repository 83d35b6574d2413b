"""The VMDK format of VMware: what the plugin is, as data. Importing this parses nothing."""

from __future__ import annotations

from instar_core.types import Capability, FormatSpec, Option, Signature

SUBFORMATS = (
    "monolithicSparse",
    "monolithicFlat",
    "twoGbMaxExtentSparse",
    "twoGbMaxExtentFlat",
    "streamOptimized",
)
"""What can be written, the default first."""

SPEC = FormatSpec(
    name="vmdk",
    hooks="instar_vmdk.hooks",
    title="VMware virtual disk",
    api=(1, 0),
    suffixes=(".vmdk",),
    signatures=(Signature(b"KDMV"), Signature(b"COWD"), Signature(b"# Disk DescriptorFile")),
    capabilities=frozenset(
        {
            Capability.READ,
            Capability.CREATE,
            Capability.FILL,
            Capability.MEASURE,
            Capability.CHECK,
            Capability.REPAIR,
            Capability.BACKING,
            Capability.COMPRESS,
            Capability.UPDATE,
            Capability.RESIZE,
            Capability.REBASE,
            Capability.EMPTY,
        }
    ),
    options=(
        Option("size", "size", "Virtual disk size"),
        Option(
            "adapter_type", "str", "Virtual adapter type, can be one of ide (default), lsilogic, buslogic or legacyESX"
        ),
        Option("backing_file", "str", "File name of a base image"),
        Option("backing_fmt", "str", "Must be 'vmdk' if present"),
        Option("compat6", "bool", "VMDK version 6 image", "off"),
        Option("hwversion", "str", "VMDK hardware version", "undefined"),
        Option("toolsversion", "str", "VMware guest tools version"),
        Option(
            "subformat",
            "str",
            "VMDK flat extent format, can be one of {monolithicSparse (default) | monolithicFlat | "
            "twoGbMaxExtentSparse | twoGbMaxExtentFlat | streamOptimized} ",
        ),
        Option("zeroed_grain", "bool", "Enable efficient zero writes using the zeroed-grain GTE feature"),
    ),
    preload={
        "map": ("instar_vmdk.map",),
        "check": ("instar_vmdk.check",),
        "write": ("instar_vmdk.write",),
    },
)
"""Create options stand in the order in which qemu-img names them in its `Formatting` line."""
