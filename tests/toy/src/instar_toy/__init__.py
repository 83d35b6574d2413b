"""Toy disks: the smallest complete format. See hooks.py for the layout."""

from instar_core.types import Capability, FormatSpec, Signature

SPEC = FormatSpec(
    name="toy",
    hooks="instar_toy.hooks",
    title="Toy disk",
    api=(1, 0),
    suffixes=(".toy",),
    signatures=(Signature(b"TOYDISK\n"),),
    capabilities=frozenset({Capability.READ, Capability.CREATE, Capability.FILL, Capability.CHECK, Capability.MEASURE}),
)
