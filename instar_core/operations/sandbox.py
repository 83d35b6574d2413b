"""sandbox: what images are parsed in here and why, how quick it is now, and the snapshots that guests begin at."""

from __future__ import annotations

import os
from time import perf_counter
from typing import NamedTuple

import instar_sandbox
from instar_sandbox import platforms, report, timing
from instar_sandbox.kvm import monitor, place, prepare, store
from instar_sandbox.kvm import report as kvm_report
from instar_sandbox.kvm import start as kvm_start

from instar_core import guests, limits
from instar_core.errors import SandboxError
from instar_core.settings import DEFAULTS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from instar_sandbox.kvm.report import Kvm
    from instar_sandbox.kvm.store import Snapshot
    from instar_sandbox.report import Wall
    from instar_sandbox.timing import Speed

    from instar_core.settings import Settings

BEFORE = "no platform: "


class Recipe(NamedTuple):
    """The snapshot of a recipe: whether it is prepared, and whether a guest of it works now.

    `size` is bytes on disk, `made` seconds since the epoch. `large`: its pages are copied into large ones, not shared.
    `speed` is None where no guest of it gave an answer; `why` says why, or why there is no snapshot.
    """

    name: str
    prepared: bool
    path: str
    size: int
    made: int
    large: bool
    speed: Speed | None
    why: str


class Choice(NamedTuple):
    """What the work of one recipe runs in by the settings that hold, whether that works, and why it is that."""

    recipe: str
    platform: str
    works: bool
    why: str


class State(NamedTuple):
    """All that is to be known. `space` is the limit on address space in bytes, None where there is none;
    `room` what a guest would get of it, 0 where that is too little for any.
    """

    setting: str
    choices: tuple[Choice, ...]
    walls: tuple[Wall, ...]
    process: Speed | None
    process_why: str
    kvm: Kvm
    recipes: tuple[Recipe, ...]
    folder: str | None
    others: tuple[str, ...]
    space: int | None
    room: int

    @property
    def works(self) -> bool:
        """Everything can be done in what the settings choose."""
        return all(choice.works for choice in self.choices)


class Kept(NamedTuple):
    """A snapshot that is prepared; `seconds` is None for one that was up to date and stays as it is."""

    name: str
    path: str
    size: int
    large: bool
    seconds: float | None


def state(settings: Settings = DEFAULTS) -> State:
    """Everything about the sandboxes of this machine for this user, measured now. Nothing is prepared."""
    walls = tuple(report.walls())
    process, process_why = _speed("process", None)
    missing = [wall.name for wall in walls if wall.mandatory and not wall.works]
    if missing and not process_why:
        process_why = f"missing: {', '.join(missing)}"
    recipes = tuple(_recipe(name) for name in guests.RECIPES)
    space, room = _space()
    return State(
        setting=settings.sandbox,
        choices=tuple(_choice(settings.sandbox, recipe, process_why) for recipe in recipes),
        walls=walls,
        process=process,
        process_why=process_why,
        kvm=kvm_report.report(),
        recipes=recipes,
        folder=place.folder(),
        others=others(),
        space=space,
        room=room,
    )


def kept(*, anew: bool = False) -> Iterator[Kept]:
    """Every recipe has a snapshot that works, in this user's folder; those that had one keep it unless `anew`.

    Raises SandboxError, with one line that says why, where there can be none.
    """
    guests.forget()
    for name in guests.RECIPES:
        old = None if anew else guests.look(name)[0]
        if old is not None:
            yield _kept(name, old, None)
            continue
        began = perf_counter()
        try:
            prepare.prepare(guests.recipe(name, modules=True))
        except instar_sandbox.NoPlatform as error:
            raise SandboxError(f"no snapshot can be prepared: {_plain(error)}") from error
        except MemoryError as error:
            raise SandboxError("no snapshot can be prepared: there is too little address space") from error
        finally:
            guests.forget()
        made, why = guests.look(name)
        if made is None:
            raise SandboxError(f"the snapshot {name} was made, but cannot be used: {why}")
        yield _kept(name, made, perf_counter() - began)


def others() -> tuple[str, ...]:
    """What else lies in the folder of snapshots: those of other interpreters and installations, and what was left."""
    folder = place.folder()
    if folder is None:
        return ()
    own = {store.file_name(guests.recipe(name)) for name in guests.RECIPES}
    try:
        return tuple(sorted(set(os.listdir(folder)) - own))
    except OSError:
        return ()


def _kept(name: str, made: Snapshot, seconds: float | None) -> Kept:
    size = os.fstat(made.descriptor).st_size
    return Kept(name, _path(name), size, made.description.large, seconds)


def _path(name: str) -> str:
    return f"{place.folder() or ''}/{store.file_name(guests.recipe(name))}"


def _recipe(name: str) -> Recipe:
    made, why = guests.look(name)
    if made is None:
        return Recipe(name, False, _path(name), 0, 0, False, None, why)
    found = os.fstat(made.descriptor)
    speed, why = _speed("kvm", made)
    large = made.description.large
    return Recipe(name, True, _path(name), found.st_size, int(found.st_mtime), large, speed, why)


def _speed(platform: str, snapshot: Snapshot | None) -> tuple[Speed | None, str]:
    """How quick a platform is, or None and why it does not work."""
    try:
        return timing.speed(platform, limits.WORKER_MEMORY, snapshot), ""
    except (instar_sandbox.JailError, OSError) as error:
        return None, _plain(error)


def _choice(setting: str, recipe: Recipe, process_why: str) -> Choice:
    """As platforms.start decides, with what was found out."""
    if setting == "inline":
        return Choice(recipe.name, "inline", True, "asked for: no sandbox at all")
    if setting == "process":
        return Choice(recipe.name, "process", not process_why, process_why or "asked for")
    if setting == "kvm":
        return Choice(recipe.name, "kvm", recipe.speed is not None, recipe.why or "asked for")
    if recipe.prepared and _fits(recipe.name):
        return Choice(recipe.name, "kvm", recipe.speed is not None, recipe.why or "prepared here")
    why = f"no guest: {recipe.why}"
    return Choice(recipe.name, "process", not process_why, f"{process_why}; {why}" if process_why else why)


def _fits(name: str) -> bool:
    """There is room for a guest of the recipe, as auto asks before it takes one."""
    made, _ = guests.look(name)
    if made is None:
        return False
    bounds = instar_sandbox.Limits(memory=limits.WORKER_MEMORY)
    try:
        kvm_start.require(bounds, made, server=platforms.crowded(bounds.memory))
    except instar_sandbox.NoPlatform:
        return False
    return True


def _space() -> tuple[int | None, int]:
    """(the limit on address space, what a guest would get)."""
    import resource

    ceiling = resource.getrlimit(resource.RLIMIT_AS)[0]
    try:
        room = monitor.room(limits.WORKER_MEMORY)
    except MemoryError:
        room = 0
    return None if ceiling == resource.RLIM_INFINITY else ceiling, room


def _plain(error: BaseException) -> str:
    return str(error).removeprefix(BEFORE)
