"""The qcow2 format: what the plugin is, as data. Importing this parses nothing."""

from __future__ import annotations

from instar_core.types import Capability, FormatSpec, Option, Signature

ENCRYPTION = (
    Option("encryption", "bool", "Encrypt the image with format 'aes'. (Deprecated in favor of encrypt.format=aes)"),
    Option("encrypt.format", "str", "Encrypt the image, format choices: 'aes', 'luks'"),
    Option("encrypt.key-secret", "str", "ID of secret providing qcow AES key or LUKS passphrase"),
    Option("encrypt.cipher-alg", "str", "Name of encryption cipher algorithm"),
    Option("encrypt.cipher-mode", "str", "Name of encryption cipher mode"),
    Option("encrypt.ivgen-alg", "str", "Name of IV generator algorithm"),
    Option("encrypt.ivgen-hash-alg", "str", "Name of IV generator hash algorithm"),
    Option("encrypt.hash-alg", "str", "Name of encryption hash algorithm"),
    Option("encrypt.iter-time", "int", "Time to spend in PBKDF in milliseconds"),
)

CREATE_ONLY = (
    Option("cluster_size", "size", "qcow2 cluster size", "65536"),
    Option("extended_l2", "bool", "Extended L2 tables", "off"),
    Option("preallocation", "str", "Preallocation mode (allowed values: off, metadata, falloc, full)"),
    Option("compression_type", "str", "Compression method used for image cluster compression", "zlib"),
    Option("keep_data_file", "bool", "Assume the external data file already exists and do not overwrite it"),
)

COMMON = (
    Option("size", "size", "Virtual disk size"),
    Option("compat", "str", "Compatibility level (v2 [0.10] or v3 [1.1])"),
    Option("backing_file", "str", "File name of a base image"),
    Option("backing_fmt", "str", "Image format of the base image"),
    Option("data_file", "str", "File name of an external data file"),
    Option("data_file_raw", "bool", "The external data file must stay valid as a raw image"),
    Option("lazy_refcounts", "bool", "Postpone refcount updates", "off"),
    Option("refcount_bits", "int", "Width of a reference count entry in bits", "16"),
)

AMENDABLE = tuple(option._replace(default=None) for option in COMMON)
"""Of these, the names of the backing file are refused by word of their own: qemu-img lists them."""

KEYSLOTS = (
    Option("encrypt.state", "str", "Select new state of affected keyslots (active/inactive)"),
    Option("encrypt.keyslot", "int", "Select a single keyslot to modify explicitly"),
    Option("encrypt.old-secret", "str", "Select all keyslots that match this password"),
    Option("encrypt.new-secret", "str", "New secret to set in the matching keyslots. Empty string to erase"),
    Option("encrypt.iter-time", "int", "Time to spend in PBKDF in milliseconds"),
)

UNLOCK = "instar_core.luks1.unlock"
WRITE, MAP, SEAL = "instar_qcow2.write", "instar_qcow2.map", "instar_qcow2.sealing"
WRITERS = {
    "create": "instar_qcow2.newimage",
    "snapshot": "instar_qcow2.snapshot_edit",
    "bitmap": "instar_qcow2.bitmap_edit",
    "resize": "instar_qcow2.resize",
    "rebase": "instar_qcow2.rebase",
    "update": "instar_qcow2.update",
    "empty": "instar_qcow2.empty_image",
    "amend": "instar_qcow2.amend",
    "repair": "instar_qcow2.repair",
}
"""The module that carries out each kind of request."""

SPEC = FormatSpec(
    name="qcow2",
    hooks="instar_qcow2.hooks",
    title="QEMU copy-on-write image, version 2 and 3",
    api=(1, 0),
    suffixes=(".qcow2", ".qcow2c", ".qcow2e"),
    signatures=(Signature(b"QFI\xfb\x00\x00\x00\x02"), Signature(b"QFI\xfb\x00\x00\x00\x03")),
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
            Capability.UPDATE,
            Capability.RESIZE,
            Capability.REBASE,
            Capability.EMPTY,
            Capability.COMPRESS,
            Capability.ENCRYPT,
            Capability.AMEND,
            Capability.REPAIR,
        }
    ),
    options=ENCRYPTION + CREATE_ONLY + COMMON,
    amend_options=KEYSLOTS + AMENDABLE,
    open_options=(
        Option("encrypt.format", "str", "Encryption method that the image is said to have: 'aes' or 'luks'"),
        Option("encrypt.key-secret", "str", "ID of secret providing qcow AES key or LUKS passphrase"),
    ),
    preload={
        "map": (MAP, UNLOCK),
        "check": ("instar_qcow2.check", UNLOCK),
        "write": (WRITE, *WRITERS.values(), MAP, SEAL, UNLOCK),
        "write/amend": (WRITE, WRITERS["amend"], MAP, SEAL, UNLOCK),
        **{f"write/{kind}": (WRITE, module, MAP, UNLOCK) for kind, module in WRITERS.items() if kind != "amend"},
    },
)
"""Create options stand in the order in which qemu-img names them in its `Formatting` line."""
