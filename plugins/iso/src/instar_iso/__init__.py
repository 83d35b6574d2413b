"""ISO 9660 volumes: what the plugin is, as data. Importing this parses nothing."""

from __future__ import annotations

from instar_core.types import Capability, FormatSpec, Signature

SPEC = FormatSpec(
    name="iso",
    hooks="instar_iso.hooks",
    title="ISO 9660 volume",
    api=(1, 0),
    suffixes=(".iso",),
    signatures=(Signature(b"CD001", 32769),),
    capabilities=frozenset({Capability.READ, Capability.CHECK}),
    preload={"check": ("instar_iso.check",)},
)
