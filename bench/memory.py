"""The peak of memory of a process tree: proportional set sizes, so that shared pages count once."""

from __future__ import annotations

import os
import time

SOON, LATER, SLOWER = 0.002, 0.02, 1.1
"""Seconds between the first two looks and between late ones, and how these grow."""
PAGE = os.sysconf("SC_PAGE_SIZE")


class Peak:
    """Watches a process tree until its root has ended; `bytes` is the most that was seen.

    `exact` is False where the kernel would not tell the proportional size of some process (workers of a user who is
    not root): its resident size, shared pages and all, was counted instead.
    """

    def __init__(self) -> None:
        self.bytes = 0
        self.exact = True

    def __call__(self, root: int) -> None:
        every = SOON
        while _runs(root):
            self.bytes = max(self.bytes, sum(self._size(pid) for pid in tree(root)))
            time.sleep(every)
            every = min(every * SLOWER, LATER)

    def _size(self, pid: int) -> int:
        try:
            return proportional(pid)
        except PermissionError:
            self.exact = False
            return resident(pid)
        except (FileNotFoundError, ProcessLookupError):
            return 0


def tree(root: int) -> list[int]:
    """The process and all that descend from it."""
    found = [root]
    for pid in found:
        try:
            for task in os.listdir(f"/proc/{pid}/task"):
                with open(f"/proc/{pid}/task/{task}/children", encoding="ascii") as file:
                    found += [int(word) for word in file.read().split()]
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def proportional(pid: int) -> int:
    """Proportional set size in bytes."""
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
        for line in file:
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0


def own(pid: int) -> int:
    """Bytes of the process that it has made or changed itself and shares with nobody. 0 where the kernel does not tell.

    Pages of a file that nobody else maps just now are not among them.
    """
    total = dirty = 0
    try:
        with open(f"/proc/{pid}/smaps", encoding="utf-8", errors="replace") as file:
            for line in file:
                if line.startswith("Private_Dirty:"):
                    dirty = int(line.split()[1]) * 1024
                elif line.startswith("Anonymous:"):
                    total += min(dirty, int(line.split()[1]) * 1024)
    except (PermissionError, FileNotFoundError, ProcessLookupError):
        return 0
    return total


def resident(pid: int) -> int:
    """Resident set size in bytes; 0 for a process that is gone."""
    try:
        with open(f"/proc/{pid}/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * PAGE
    except (FileNotFoundError, ProcessLookupError):
        return 0


def _runs(pid: int) -> bool:
    """Whether the process still runs: one that only waits to be reaped does not."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            return file.read().rpartition(")")[2].split()[0] not in ("Z", "X")
    except FileNotFoundError:
        return False
