"""The VHD format of Virtual PC and Hyper-V: what the plugin is, as data. Importing this parses nothing."""

from __future__ import annotations

from instar_core.types import Capability, FormatSpec, Option, Signature

SUBFORMATS = ("dynamic", "fixed")
"""What can be written, the default first; a dynamic image with a parent is a differencing one."""

SPEC = FormatSpec(
    name="vpc",
    hooks="instar_vpc.hooks",
    title="Virtual PC and Hyper-V virtual hard disk (VHD)",
    api=(1, 0),
    suffixes=(".vhd",),
    signatures=(
        Signature(b"conectix"),
        Signature(b"conectix", -512),
        Signature(b"conectix", -511),
    ),
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
        Option("backing_fmt", "str", "Must be 'vpc' if present"),
        Option(
            "subformat",
            "str",
            "Type of virtual hard disk format. Supported formats are {dynamic (default) | fixed} ",
        ),
        Option(
            "force_size",
            "bool",
            "Force disk size calculation to use the actual size specified, rather than using the nearest CHS-based "
            "calculation",
        ),
    ),
    open_options=(
        Option(
            "force_size_calc",
            "str",
            "Force disk size calculation to use either CHS geometry, or use the disk current_size specified in the "
            "VHD footer. {chs, current_size}",
        ),
    ),
    preload={
        "map": ("instar_vpc.map",),
        "check": ("instar_vpc.check",),
        "write": ("instar_vpc.write",),
    },
)
"""Create options stand in the order in which qemu-img names them in its `Formatting` line."""
