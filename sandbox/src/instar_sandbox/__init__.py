"""Running Python code where it can do no harm.

`start(platform, program, descriptors, limits)` gives a Session: frames out, frames in. The program is a module with
`prepare` and `serve`; see Program. Everything that goes wrong with it is a JailError.
"""

from __future__ import annotations

from instar_sandbox.errors import Cause, JailError, NoPlatform
from instar_sandbox.platforms import start
from instar_sandbox.program import MAX_FRAME, Limits, Program

TYPE_CHECKING = False
if TYPE_CHECKING:
    from instar_sandbox.frames import Channel
    from instar_sandbox.kvm.store import Recipe, Snapshot
    from instar_sandbox.report import Wall, walls
    from instar_sandbox.session import Session

__all__ = [
    "start",
    "Program",
    "Limits",
    "Session",
    "Channel",
    "JailError",
    "NoPlatform",
    "Cause",
    "MAX_FRAME",
    "walls",
    "Wall",
    "Recipe",
    "Snapshot",
]

LATE = {
    "walls": "report",
    "Wall": "report",
    "Channel": "frames",
    "Session": "session",
    "Recipe": "kvm.store",
    "Snapshot": "kvm.store",
}


def __getattr__(name: str) -> object:
    """Names that few callers need are imported when asked for."""
    if name not in LATE:
        raise AttributeError(f"module 'instar_sandbox' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(f"instar_sandbox.{LATE[name]}"), name)
