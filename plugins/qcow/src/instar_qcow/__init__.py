"""The qcow format, version 1: what the plugin is, as data. Importing this parses nothing."""

from __future__ import annotations

from instar_core.types import Capability, FormatSpec, Option, Signature

SECRET = Option("encrypt.key-secret", "str", "ID of the secret that provides the AES encryption key")

SPEC = FormatSpec(
    name="qcow",
    hooks="instar_qcow.hooks",
    title="QEMU copy-on-write image, version 1",
    api=(1, 0),
    suffixes=(".qcow",),
    signatures=(Signature(b"QFI\xfb\0\0\0\1"),),
    capabilities=frozenset(
        {
            Capability.READ,
            Capability.CREATE,
            Capability.FILL,
            Capability.MEASURE,
            Capability.CHECK,
            Capability.BACKING,
            Capability.COMPRESS,
            Capability.ENCRYPT,
            Capability.UPDATE,
            Capability.RESIZE,
            Capability.REBASE,
            Capability.EMPTY,
        }
    ),
    options=(
        Option("size", "size", "Virtual disk size"),
        Option("backing_file", "str", "File name of a base image"),
        Option("backing_fmt", "str", "Format of the backing image"),
        Option(
            "encryption", "bool", "Encrypt the image with format 'aes'. (Deprecated in favor of encrypt.format=aes)"
        ),
        Option("encrypt.format", "str", "Encrypt the image, format choices: 'aes'"),
        SECRET,
    ),
    open_options=(SECRET,),
    preload={
        "map": ("instar_qcow.map",),
        "check": ("instar_qcow.check",),
        "write": ("instar_qcow.write", "instar_qcow.update", "instar_qcow.change"),
    },
)
"""Create options stand in the order in which qemu-img names them in its `Formatting` line."""
