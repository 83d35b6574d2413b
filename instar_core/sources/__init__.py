"""Images that lie elsewhere: each protocol is a plugin that reads, and perhaps writes, one source at its places.

Everything else in instar works on descriptors, so a source becomes one: a child process, which alone talks to the
network, serves a file that exists in its own mount namespace only, and hands the open file over.
"""

from __future__ import annotations

from instar_core.sources.backend import Backend as Backend
from instar_core.sources.spec import SourceSpec as SourceSpec

__all__ = ["Backend", "SourceSpec"]
