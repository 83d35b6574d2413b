"""The Universal Disk Image Format of Apple: what the plugin is, as data. Importing this parses nothing."""

from __future__ import annotations

from instar_core.types import Capability, FormatSpec, Signature

SPEC = FormatSpec(
    name="dmg",
    hooks="instar_dmg.hooks",
    title="Apple disk image (UDIF)",
    api=(1, 0),
    suffixes=(".dmg",),
    signatures=(Signature(b"koly", -512), Signature(b"encrcdsa"), Signature(b"cdsaencr", -8)),
    capabilities=frozenset({Capability.READ, Capability.CHECK}),
    preload={
        "map": ("instar_dmg.map",),
        "check": ("instar_dmg.check",),
        "decode": ("instar_dmg.decode", "bz2", "lzma", "lzfse"),
    },
)
