"""Network Block Devices: exports of qemu-nbd, nbdkit and others, read and written.

Source: doc/proto.md and doc/uri.md of the NBD project.
"""

from __future__ import annotations

from instar_core.sources.spec import SourceSpec

SPEC = SourceSpec(("nbd", "nbd+unix", "nbd+tcp"), "instar_core.sources.nbd.export:opened", "Network Block Device")
