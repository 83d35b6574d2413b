"""LUKS encrypted disk images for instar."""

from __future__ import annotations

from instar_core.types import Capability, FormatSpec, Option, Signature

SPEC = FormatSpec(
    name="luks",
    hooks="instar_luks.hooks",
    title="LUKS encrypted disk (LUKS1)",
    suffixes=(".luks",),
    signatures=(Signature(b"LUKS\xba\xbe"),),
    capabilities=frozenset({Capability.READ, Capability.ENCRYPT}),
    open_options=(Option("key-secret", "str", "ID of the secret that provides the keyslot key"),),
)
