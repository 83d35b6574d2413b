"""Ways of coding content, by name, each in a module of its own that is imported when it is first asked for.

A coding gives two functions, `decoder(params, unit)` and `encoder(params, unit)`. What they return is called with the
source (a memoryview), the room for the result (a writable memoryview) and the number of the piece's first sector (only
ciphers look at it), and returns the length of the result. Decoders raise FormatError (CORRUPT) for what does not
decode; they never write past the room nor make more than a unit. Encoders return 0 where the result does not fit.
"""

from __future__ import annotations

import sys

from instar_core.errors import ErrorKind, FormatError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    Code = Callable[[memoryview, memoryview, int], int]
    MakeCode = Callable[[Mapping[str, Any], int], Code]

CODINGS = {
    "deflate-12": ("deflate", "raw_decoder", "raw_encoder"),
    "zlib": ("deflate", "zlib_decoder", "zlib_encoder"),
    "zstd": ("zstd", "decoder", "encoder"),
    "cipher": ("cipher", "decoder", "encoder"),
}
"""Name of a coding → module of this package, its function that makes a decoder, and that for an encoder."""

EFFORT = "effort"
"""The param that says how hard an encoder tries, put there by the host; FAST where it is not."""
FAST = "fast"
"""At most about a tenth larger than what qemu-img makes, in a fraction of its time."""
SMALL = "small"
"""No larger than what qemu-img makes."""

PLUGIN = "plugin"
"""The param that names the plugin which decodes any other coding: (format, module:attribute), put there by the host."""


def _function(name: str, which: int) -> Any:
    entry = CODINGS.get(name)
    if entry is None:
        raise FormatError(f"unknown coding '{name}'", kind=ErrorKind.UNSUPPORTED)
    module = f"{__name__}.{entry[0]}"
    __import__(module)
    return getattr(sys.modules[module], entry[which])


def decoder(name: str) -> MakeCode:
    """What makes a decoder of this coding from params and unit. FormatError (UNSUPPORTED) if unknown."""
    made: MakeCode = _function(name, 1)
    return made


def encoder(name: str) -> MakeCode:
    """What makes an encoder of this coding from params and unit. FormatError (UNSUPPORTED) if unknown."""
    made: MakeCode = _function(name, 2)
    return made
