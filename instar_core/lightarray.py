"""The type array, without the modules that importing it brings along, which cost a millisecond where all else is quick.

When `array` is imported it tells `collections.abc` what it is, for which `collections` is imported and all that it
needs. What `collections.abc` holds is `_collections_abc`, which is loaded with `os`: for that moment it goes by both
names. A program with threads has `collections` already, so that no other thread can see this.
"""

from __future__ import annotations

import _collections_abc
import sys

LONG = ("collections", "collections.abc")

if "array" in sys.modules or "collections" in sys.modules:
    from array import array as array
else:
    sys.modules.update(dict.fromkeys(LONG, _collections_abc))
    try:
        from array import array as array
    finally:
        for name in LONG:
            del sys.modules[name]
