"""The library crc32c, where it is installed: computing checksums in Python costs 0.1 s for a log of 1 MiB.

It is imported only for a check, since that import takes longer than all the checksums of an image without a log.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

library: Callable[[bytes], int] | None
try:
    from crc32c import crc32c as library
except ImportError:  # optional: instar_vhdx.crc has its own
    library = None
