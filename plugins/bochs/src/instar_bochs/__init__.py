"""Growing disks of Bochs: what the plugin is, as data. Importing this parses nothing."""

from __future__ import annotations

from instar_core.types import Capability, FormatSpec, Signature

SPEC = FormatSpec(
    name="bochs",
    hooks="instar_bochs.hooks",
    title="Bochs growing disk",
    api=(1, 0),
    signatures=(Signature(b"Bochs Virtual HD Image"),),
    capabilities=frozenset({Capability.READ, Capability.CHECK}),
    preload={"map": ("instar_bochs.map",), "check": ("instar_bochs.check",)},
)
