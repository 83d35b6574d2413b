"""instar: safe tools for virtual-machine disk images.

Untrusted bytes are parsed only in a sandbox; what the parser says is believed only after one door has checked it;
the bytes themselves are moved by the kernel, unparsed.

The library: `open` gives a Disk; `info`, `inspect`, `map`, `check`, `convert`, `create`, `measure`, `compare` and those
that change an image are functions with typed results; `snapshot` is a module of four. The words of the plugin contract
(FormatSpec, Extent, hookimpl, …) stand here too.
Everything is imported when it is first used.
"""

from __future__ import annotations

__version__ = "0.1.0"

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from instar_core.bitmapplan import Action as Action
    from instar_core.disk import Disk as Disk
    from instar_core.disk import open as open
    from instar_core.errors import *  # noqa: F403
    from instar_core.hookspecs import hookimpl as hookimpl
    from instar_core.keyring import Keyring as Keyring
    from instar_core.operations import snapshot as snapshot
    from instar_core.operations.amend import amend as amend
    from instar_core.operations.bench import bench as bench
    from instar_core.operations.bitmap import bitmap as bitmap
    from instar_core.operations.check import check as check
    from instar_core.operations.commit import commit as commit
    from instar_core.operations.compare import compare as compare
    from instar_core.operations.convert import convert as convert
    from instar_core.operations.create import create as create
    from instar_core.operations.dd import dd as dd
    from instar_core.operations.info import info as info
    from instar_core.operations.inspect import inspect as inspect
    from instar_core.operations.map import map_ as map  # noqa: F401
    from instar_core.operations.measure import measure as measure
    from instar_core.operations.rebase import rebase as rebase
    from instar_core.operations.repair import repair as repair
    from instar_core.operations.resize import resize as resize
    from instar_core.pool import Pool as Pool
    from instar_core.settings import Settings as Settings
    from instar_core.source import Image as Image
    from instar_core.source import Source as Source
    from instar_core.types import *  # noqa: F403
    from instar_core.verdict.answer import Code as Code
    from instar_core.verdict.answer import Reason as Reason
    from instar_core.verdict.answer import Verdict as Verdict
    from instar_core.verdict.demands import Demands as Demands

_OPERATIONS = {
    "resize": "resize",
    "rebase": "rebase",
    "commit": "commit",
    "repair": "repair",
    "bitmap": "bitmap",
    "dd": "dd",
    "amend": "amend",
    "info": "info",
    "inspect": "inspect",
    "map": "map_",
    "check": "check",
    "convert": "convert",
    "create": "create",
    "measure": "measure",
    "compare": "compare",
    "bench": "bench",
}
_ELSEWHERE = {"open": "disk", "Disk": "disk", "Pool": "pool", "Action": "bitmapplan", "snapshot": "operations"}
_VERDICT = ("verdict.answer", "verdict.demands")
_MODULES = ("types", "requests", "spec", "errors", "hookspecs", "results", "settings", "source", "keyring", *_VERDICT)


def __getattr__(name: str) -> Any:
    import sys

    if name in _ELSEWHERE:
        return _from(f"{__name__}.{_ELSEWHERE[name]}", name)
    if name in _OPERATIONS:
        found = _from(f"{__name__}.operations.{name}", _OPERATIONS[name])
        globals()[name] = found
        return found
    if name[:1].isupper() or name == "hookimpl":  # else a module being imported, which would bring all of these
        for module in _MODULES:
            full = f"{__name__}.{module}"
            __import__(full)
            found = sys.modules[full].__dict__.get(name)
            if found is not None and getattr(found, "__module__", full) == full:
                return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _from(module: str, name: str) -> Any:
    import sys

    __import__(module, fromlist=(name,))
    return getattr(sys.modules[module], name)
