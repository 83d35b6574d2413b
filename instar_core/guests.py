"""Which snapshot a worker in a guest begins at: what it may need is in it, for a sealed guest imports nothing.

Two recipes: `lean` parses images with every plugin that is installed, `bulk` decodes (also by the plugins' own hooks),
encodes and derives keys. They are prepared by `instar sandbox prepare`; a request only finds them.
"""

from __future__ import annotations

import os
import sys

from instar_core import registry
from instar_core.errors import SandboxError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from instar_sandbox.kvm.store import Recipe, Snapshot

LEAN, BULK = "lean", "bulk"
RECIPES = (LEAN, BULK)
REMEDY = "(prepare it with: instar sandbox prepare)"

_found: dict[str, tuple[Snapshot | None, str]] = {}


def snapshot(name: str, place: str) -> Snapshot | None:
    """The snapshot of a recipe for a worker of the sandbox `place`; None if it is not to be a guest.

    Raises SandboxError where a guest was asked for by name and there is no snapshot that can be used.
    """
    if place not in ("auto", "kvm"):
        return None
    found, why = look(name)
    if found is None and place == "kvm":
        raise SandboxError(f"no platform: {why}")
    return found


def look(name: str) -> tuple[Snapshot | None, str]:
    """The snapshot of a recipe that can be used here and now; or None, why there is none, and what would help."""
    found = _found.get(name)
    if found is None:
        found = _found[name] = _find(name)
    return found


def hold(names: Iterable[str] = RECIPES) -> None:
    """This process has snapshots of its own, in memory, made and tried now; they come before prepared ones.

    For services and tests: it takes about a second. Raises SandboxError where there can be no guest.
    """
    import instar_sandbox
    from instar_sandbox.kvm import prepare

    for name in names:
        try:
            made = prepare.make(recipe(name, modules=True))
        except instar_sandbox.NoPlatform as error:
            raise SandboxError(str(error)) from error
        old, _ = _found.pop(name, (None, ""))
        if old is not None:
            old.close()
        _found[name] = made, ""


def held(name: str) -> bool:
    """Whether this process has a snapshot of the recipe, found or made."""
    return _found.get(name, (None, ""))[0] is not None


def forget() -> None:
    """Snapshots are looked for anew."""
    for made, _ in _found.values():
        if made is not None:
            made.close()
    _found.clear()


def _find(name: str) -> tuple[Snapshot | None, str]:
    from instar_sandbox.kvm import place

    if not place.exists():
        return None, f"no snapshot is prepared for this user {REMEDY}"
    from instar_sandbox import NoPlatform
    from instar_sandbox.kvm import store

    try:
        return store.find(recipe(name)), ""
    except store.NotPrepared as error:
        return None, f"{error} {REMEDY}"
    except NoPlatform as error:
        return None, str(error)


def recipe(name: str, *, modules: bool = False) -> Recipe:
    """The recipe of this name; with its `modules`, as preparing it takes, every plugin is imported."""
    from instar_sandbox.kvm.store import Recipe

    entries = sorted(registry.entries().values())
    mark = (os.path.dirname(__file__), tuple([tuple(entry) for entry in entries]))
    return Recipe(name, (lean() if name == LEAN else bulk()) if modules else (), mark)


DECODE, HOOK = "decode", "instar_decode"
CODEC, KEY, FORMAT = "instar_core.worker.codec", "instar_core.worker.key", "instar_core.worker.format"
STREAM, UNTAR = "instar_core.worker.stream.program", "instar_core.worker.untar"


def lean() -> list[str]:
    """The programs of format sessions, of streams and of archives, and all that each plugin names; a plugin that cannot
    be imported harms nobody."""
    from instar_core.worker.format import COLUMNS, INSPECTING

    modules = [FORMAT, STREAM, UNTAR, "array", COLUMNS, *INSPECTING]
    for entry, spec, _ in registry.formats():
        if spec is not None:
            named = [
                entry.value.partition(":")[0],
                spec.hooks,
                *[name for operation, some in spec.preload.items() if operation != DECODE for name in some],
            ]
            if _importable(named):
                modules += named
    return list(dict.fromkeys(modules))


def bulk() -> list[str]:
    """The programs of codec and key sessions, and every plugin that decodes by a hook of its own.

    Of what such a plugin names for it only what is there: it can do without the rest, or says so.
    """
    from instar_core.worker import relay

    modules = ["instar_core.worker.bulk", CODEC, KEY, FORMAT]
    for entry, spec, _ in registry.formats():
        if spec is None or not _importable([spec.hooks]):
            continue
        if relay.implementation(sys.modules[spec.hooks], HOOK) is not None:
            modules += [entry.value.partition(":")[0], spec.hooks]
            modules += [name for name in spec.preload.get(DECODE, ()) if _importable([name])]
    return list(dict.fromkeys(modules))


def _importable(modules: Iterable[str]) -> bool:
    try:
        for module in modules:
            __import__(module)
    except Exception:  # a plugin may fail in any way when imported; asked for by name, its session says so
        return False
    return True
