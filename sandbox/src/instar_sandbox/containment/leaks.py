"""What is left behind by many sessions that went wrong in many ways."""

from __future__ import annotations

import gc
import os
from typing import TYPE_CHECKING, NamedTuple

from instar_sandbox.containment.canary import Canary
from instar_sandbox.containment.deed import Deed
from instar_sandbox.containment.suite import named, tried

if TYPE_CHECKING:
    from instar_sandbox.containment.suite import Start

MIXTURE = (
    "open",
    "fork",
    "thread",
    "abort",
    "peek",
    "cut",
    "announce",
    "last-words",
    "map-much",
    "executable",
    "import",
)
"""Deeds that take no time, of every kind of end but those of limits."""
WARM = 2
"""Rounds of all of them before anything is counted."""


class Leaks(NamedTuple):
    """How much more there is after `sessions` sessions. Memory is what this process and all below it hold, in bytes."""

    sessions: int
    descriptors: int
    processes: int
    threads: int
    memory: int


def leaks(start: Start, sessions: int = 100) -> Leaks:
    """What so many sessions of mixed deeds leave behind. Raises AssertionError for a deed that is not contained."""
    singles = [named(name) for name in MIXTURE]
    mixture = [deed._replace(orders=(order,)) for deed in singles for order in deed.orders]
    with Canary() as canary:
        for _ in range(WARM):
            for deed in singles:
                _contained(start, canary, deed._replace(orders=deed.orders[:1]))
        before = _held()
        for index in range(sessions):
            _contained(start, canary, mixture[index % len(mixture)])
        after = _held()
    return Leaks(sessions, *(late - early for early, late in zip(before, after, strict=True)))


def _contained(start: Start, canary: Canary, deed: Deed) -> None:
    outcome = tried(start, canary, deed)
    if not outcome.contained:
        raise AssertionError(f"{deed.name}: {outcome.text}")


def _held() -> tuple[int, int, int, int]:
    """Descriptors and threads of this process, processes below it, and bytes of memory of all."""
    gc.collect()
    below = _descendants(os.getpid())
    memory = sum(_memory(pid) for pid in (os.getpid(), *below))
    return len(os.listdir("/proc/self/fd")), len(below), len(os.listdir("/proc/self/task")), memory


def _descendants(pid: int) -> list[int]:
    """Every process below this one, zombies too."""
    found: list[int] = []
    parents = {int(name): _parent(int(name)) for name in os.listdir("/proc") if name.isdigit()}
    wanted = {pid}
    while wanted:
        wanted = {child for child, parent in parents.items() if parent in wanted}
        found += wanted
    return found


def _parent(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return int(file.read().rpartition(b")")[2].split()[1])
    except OSError:  # it has ended meanwhile
        return 0


def _memory(pid: int) -> int:
    """Bytes of a process, those that it shares divided among the sharers; 0 where that is not told."""
    try:
        with open(f"/proc/{pid}/smaps_rollup", "rb") as file:
            lines = dict(line.split(b":", 1) for line in file if b":" in line)
        return int(lines[b"Pss"].split()[0]) << 10
    except (OSError, KeyError):
        return 0
