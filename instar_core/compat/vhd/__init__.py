"""Chains of VHD files as XenServer keeps them and OpenStack's Cinder takes them in, and what `vhd-util` does to them.

A chain is a list of files `0.vhd`, `1.vhd` and so on, each the child of the next. The functions have the names of
Cinder's own (cinder.image.image_utils) where those have a counterpart. Sizes are bytes. No function follows what a file
says of its parent further than its description says: a name in a file that came from somebody else is nothing to
believe. All raise InstarError. Everything is imported when it is first used.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from instar_core.compat.vhd.archive import replace_with_coalesced as replace_with_coalesced
    from instar_core.compat.vhd.archive import unpack as unpack
    from instar_core.compat.vhd.chains import depth as depth
    from instar_core.compat.vhd.chains import discover_chain as discover_chain
    from instar_core.compat.vhd.chains import fix_chain as fix_chain
    from instar_core.compat.vhd.chains import parent as parent
    from instar_core.compat.vhd.chains import set_parent as set_parent
    from instar_core.compat.vhd.chains import virtual_size as virtual_size
    from instar_core.compat.vhd.coalescing import coalesce as coalesce
    from instar_core.compat.vhd.coalescing import coalesce_chain as coalesce_chain
    from instar_core.compat.vhd.journal import resize as resize

_WHERE = {
    "discover_chain": "chains",
    "fix_chain": "chains",
    "set_parent": "chains",
    "virtual_size": "chains",
    "parent": "chains",
    "depth": "chains",
    "coalesce": "coalescing",
    "coalesce_chain": "coalescing",
    "resize": "journal",
    "unpack": "archive",
    "replace_with_coalesced": "archive",
}

__all__ = [
    "discover_chain",
    "fix_chain",
    "set_parent",
    "virtual_size",
    "parent",
    "depth",
    "resize",
    "coalesce",
    "coalesce_chain",
    "unpack",
    "replace_with_coalesced",
]


def __getattr__(name: str) -> Any:
    import sys

    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    full = f"{__name__}.{_WHERE[name]}"
    __import__(full)
    return getattr(sys.modules[full], name)
