"""Building snapshots, and trying them before anyone relies on them."""

from __future__ import annotations

import fcntl
import os
import sys
from time import perf_counter

from instar_sandbox.errors import JailError, NoPlatform
from instar_sandbox.kvm import build, machine, rehearsal, snapshot, store, trial
from instar_sandbox.kvm.errors import BackendError
from instar_sandbox.kvm.identity import identity
from instar_sandbox.program import MAX_FRAME, Limits, Program

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from instar_sandbox.kvm.store import Recipe, Snapshot

ROUNDS = 4
"""Sessions of each kind of restoring; the quickest counts."""
WORTH = 0.7
"""Copying all pages must take less than this part of the time to be worth the memory of every guest."""
PATIENCE = 30


def make(recipe: Recipe, path: Sequence[str] | None = None) -> Snapshot:
    """A snapshot in a sealed file in memory, tried, restored in the way that is quicker here.

    `path` is where modules are found: sys.path by default. Raises NoPlatform, with what is wrong.
    """
    kvm = machine.open_device()
    descriptor = store.memory_file(recipe.name)
    try:
        places = [os.path.abspath(entry) for entry in (sys.path if path is None else path) if entry]
        description = build.build(kvm, recipe.modules, places, identity(recipe.name, recipe.mark), descriptor)
        rehearsal.rehearse(kvm, descriptor, description)
        made = store.Snapshot(recipe.name, descriptor, description)
        times: dict[bool, list[float]] = {True: [], False: []}
        for large in (True, False) * ROUNDS:
            description.large = large
            times[large].append(tried(made))
        description.large = min(times[True]) < WORTH * min(times[False])
        description.tested = True
        snapshot.rewrite(descriptor, description)
        fcntl.fcntl(descriptor, store.F_ADD_SEALS, store.SEALS)
    except BackendError as error:
        os.close(descriptor)
        raise NoPlatform(f"no platform: {error}") from error
    except BaseException:
        os.close(descriptor)
        raise
    finally:
        os.close(kvm)
    return made


def prepare(recipe: Recipe) -> str:
    """A new snapshot is kept for later programs of this user: its path. Raises NoPlatform."""
    with make(recipe) as made:
        return store.keep(recipe, made)


def tried(made: Snapshot) -> float:
    """Seconds until a guest of the snapshot gave its first right answer. Raises NoPlatform if it does not."""
    from instar_sandbox.kvm.start import start

    file = os.open(__file__, os.O_RDONLY | os.O_CLOEXEC)
    began = perf_counter()
    try:
        limits = Limits(wall=PATIENCE)
        with start(Program(trial.__name__, b"argument"), [file], limits, MAX_FRAME, made) as session:
            session.send(b"question")
            said = session.receive()
            seconds = perf_counter() - began
            if said != trial.answer(b"argument", file, b"question"):
                raise NoPlatform("no platform: a guest computes something else than its host")
            return seconds
    except JailError as error:
        raise NoPlatform(f"no platform: a guest does not run: {str(error).removeprefix('no platform: ')}") from error
    finally:
        os.close(file)
