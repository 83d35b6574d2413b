"""LUKS encrypted disk images for instar."""

from __future__ import annotations

from instar_core.types import Capability, FormatSpec, Option, Signature

CREATE = (
    Option("key-secret", "str", "ID of the secret that provides the keyslot passphrase"),
    Option("cipher-alg", "str", "Name of encryption cipher algorithm"),
    Option("cipher-mode", "str", "Name of encryption cipher mode"),
    Option("ivgen-alg", "str", "Name of IV generator algorithm"),
    Option("ivgen-hash-alg", "str", "Name of IV generator hash algorithm"),
    Option("hash-alg", "str", "Name of encryption hash algorithm"),
    Option("iter-time", "int", "Time to spend in PBKDF in milliseconds"),
    Option("detached-header", "bool", "Create a detached LUKS header"),
)

AMEND = (
    Option("state", "str", "Select new state of affected keyslots (active/inactive)"),
    Option("keyslot", "int", "Select a single keyslot to modify explicitly"),
    Option("old-secret", "str", "Select all keyslots that match this password"),
    Option("new-secret", "str", "New secret to set in the matching keyslots. Empty string to erase"),
    Option("iter-time", "int", "Time to spend in PBKDF in milliseconds"),
)

VERSION_2 = (
    Option("pbkdf", "str", "Key derivation function (LUKS2; argon2id, argon2i or pbkdf2)"),
    Option("pbkdf-memory", "int", "Most memory of the key derivation in KiB (LUKS2, argon2)"),
    Option("pbkdf-parallel", "int", "Lanes of the key derivation (LUKS2, argon2)"),
    Option("pbkdf-force-iterations", "int", "Iterations of the key derivation, instead of iter-time (LUKS2)"),
    Option("sector-size", "int", "Bytes of an encrypted sector (LUKS2; 512, 1024, 2048 or 4096)"),
    Option("label", "str", "Label of the volume (LUKS2)"),
    Option("subsystem", "str", "Subsystem label of the volume (LUKS2)"),
)

SPEC = FormatSpec(
    name="luks",
    hooks="instar_luks.hooks",
    title="LUKS encrypted disk, version 1 and 2",
    api=(1, 0),
    suffixes=(".luks",),
    signatures=(Signature(b"LUKS\xba\xbe"),),
    capabilities=frozenset(
        {
            Capability.READ,
            Capability.CREATE,
            Capability.FILL,
            Capability.CHECK,
            Capability.REPAIR,
            Capability.MEASURE,
            Capability.ENCRYPT,
            Capability.AMEND,
            Capability.UPDATE,
            Capability.RESIZE,
        }
    ),
    options=(
        Option("size", "size", "Virtual disk size"),
        *CREATE,
        Option("version", "int", "Version of the header (1 or 2)"),
        *VERSION_2,
    ),
    amend_options=AMEND,
    open_options=(Option("key-secret", "str", "ID of the secret that provides the keyslot key"),),
    preload={
        "check": ("instar_luks.check", "instar_luks.write"),
        "write": ("instar_luks.write",),
    },
)
"""Create options stand in the order in which qemu-img names them in its `Formatting` line, instar's own last."""
