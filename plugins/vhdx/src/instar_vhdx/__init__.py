"""The VHDX format of Hyper-V: what the plugin is, as data. Importing this parses nothing."""

from __future__ import annotations

from instar_core.types import Capability, FormatSpec, Option, Signature

SUBFORMATS = ("dynamic", "fixed")
"""What can be chosen, the default first; with a backing file the image is a differencing one."""

SPEC = FormatSpec(
    name="vhdx",
    hooks="instar_vhdx.hooks",
    title="Hyper-V virtual hard disk, version 2",
    api=(1, 0),
    suffixes=(".vhdx", ".avhdx"),
    signatures=(Signature(b"vhdxfile"),),
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
        Option("size", "size", "Virtual disk size; max of 64TB."),
        Option("log_size", "size", "Log size; min 1MB.", "1M"),
        Option(
            "block_size",
            "size",
            "Block Size; min 1MB, max 256MB. 0 means auto-calculate based on image size.",
            "0",
        ),
        Option("subformat", "str", "VHDX format type, can be either 'dynamic' or 'fixed'. Default is 'dynamic'."),
        Option(
            "block_state_zero",
            "bool",
            "Force use of payload blocks of type 'ZERO'. Non-standard, but default.  Do not set to 'off' when using "
            "'qemu-img convert' with subformat=dynamic.",
        ),
        Option("backing_file", "str", "File name of a base image"),
        Option("backing_fmt", "str", "Must be 'vhdx' if present"),
    ),
    preload={
        "map": ("instar_vhdx.map",),
        "check": ("instar_vhdx.check", "instar_vhdx.native"),
        "write": ("instar_vhdx.write",),
    },
)
"""Create options stand in the order in which qemu-img names them in its `Formatting` line."""
