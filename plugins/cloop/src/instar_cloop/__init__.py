"""Compressed loop images, version 2: what the plugin is, as data. Importing this parses nothing."""

from __future__ import annotations

from instar_core.types import Capability, FormatSpec, Signature

SPEC = FormatSpec(
    name="cloop",
    hooks="instar_cloop.hooks",
    title="compressed loop image",
    api=(1, 0),
    suffixes=(".cloop",),
    signatures=(Signature(b"#!/bin/sh\n#V2.0 Format\nmodprobe cloop"),),
    capabilities=frozenset({Capability.READ, Capability.CHECK}),
    preload={
        "map": ("instar_cloop.map",),
        "check": ("instar_cloop.check",),
        "decode": ("instar_cloop.decode",),
    },
)
