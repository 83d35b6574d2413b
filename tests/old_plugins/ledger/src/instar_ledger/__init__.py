"""Ledger disks: a small format whose images can be changed in every way that there is. See layout.py."""

from instar_core.types import Capability, FormatSpec, Option, Signature

SPEC = FormatSpec(
    name="ledger",
    hooks="instar_ledger.hooks",
    title="Ledger disk",
    api=(1, 0),
    suffixes=(".ledger",),
    signatures=(Signature(b"LEDGER1\n"),),
    capabilities=frozenset(
        {
            Capability.READ,
            Capability.CREATE,
            Capability.FILL,
            Capability.CHECK,
            Capability.MEASURE,
            Capability.BACKING,
            Capability.SNAPSHOT,
            Capability.BITMAP,
            Capability.COMPRESS,
            Capability.ENCRYPT,
            Capability.UPDATE,
            Capability.RESIZE,
            Capability.REBASE,
            Capability.EMPTY,
            Capability.AMEND,
            Capability.REPAIR,
        }
    ),
    options=(
        Option("size", "size", "Virtual disk size"),
        Option("backing_file", "str", "File name of a base image"),
        Option("backing_fmt", "str", "Image format of the base image"),
        Option("label", "str", "Name of the disk", ""),
        Option("key-secret", "str", "ID of the secret that encrypts the disk"),
        Option("iter-time", "int", "Time that one try of a passphrase costs, in milliseconds", "2000"),
    ),
    amend_options=(
        Option("label", "str", "Name of the disk"),
        Option("new-secret", "str", "ID of the secret that opens the disk from now on"),
        Option("old-secret", "str", "ID of the secret that opens it so far"),
    ),
    open_options=(Option("key-secret", "str", "ID of the secret that the disk is encrypted with"),),
    preload={
        "map": ("instar_ledger.map",),
        "check": ("instar_ledger.check",),
        "write": ("instar_ledger.create", "instar_ledger.change", "instar_ledger.rows", "instar_ledger.check"),
    },
)
