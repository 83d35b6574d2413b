"""Running programs: one run with its figures, and all programs in turns."""

from __future__ import annotations

import os
import select
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

PATIENCE = 900
"""Seconds after which a run is given up."""
ENVIRONMENT = ("PATH", "HOME", "TMPDIR", "LD_LIBRARY_PATH")
"""What the programs see of the environment, so that no setting of the caller's is measured."""

ERRORS = "stderr"
"""Name of the file in the folder of a command that its standard error goes to."""


class Failed(Exception):
    """A program ended badly; its last lines of standard error."""


class Run(NamedTuple):
    """One run: wall time and processor time of the whole process tree, in seconds."""

    wall: float
    cpu: float


class Command(NamedTuple):
    """A command line, the folder that it may write into (emptied after each run), where its output goes, and what is
    added to its environment. `copies` are files that it gets copies of, in its folder, before the clock runs; `given`
    is its standard input."""

    words: list[str]
    folder: str
    output: str = os.devnull
    settings: tuple[tuple[str, str], ...] = ()
    copies: tuple[str, ...] = ()
    given: str = os.devnull

    def run(self, watch: Callable[[int], None] | None = None) -> Run:
        """The command has run to its end and left nothing behind. Raises Failed.

        `watch` is called with the process id again and again while the command runs.
        """
        fresh(self.folder, self.copies)
        errors = os.path.join(self.folder, ERRORS)
        environment = {name: os.environ[name] for name in ENVIRONMENT if name in os.environ}
        environment.update(self.settings)
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        begin = time.perf_counter()
        pid = os.posix_spawn(  # subprocess would add its own millisecond to both sides
            self.words[0],
            self.words,
            environment,
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, self.given, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, self.output, flags, 0o600),
                (os.POSIX_SPAWN_OPEN, 2, errors, flags, 0o600),
            ],
        )
        try:
            if watch is not None:
                watch(pid)
            _wait(pid)
        except BaseException:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            raise
        _, status, used = os.wait4(pid, 0)
        wall = time.perf_counter() - begin
        if status:
            with open(errors, encoding="utf-8", errors="replace") as file:
                lines = file.read().strip().splitlines()
            raise Failed("; ".join(lines[-2:]) if lines else f"status {status}")
        return Run(wall, used.ru_utime + used.ru_stime)


def fresh(folder: str, copies: Sequence[str]) -> None:
    """The folder is there and holds copies of these files, of which nothing waits to be written."""
    shutil.rmtree(folder, ignore_errors=True)
    os.mkdir(folder)
    for path in copies:
        subprocess.run(("cp", "--sparse=always", "--reflink=auto", path, folder), check=True)
    if copies:
        os.sync()  # what the copies leave to be written is not the command's


def _wait(pid: int) -> None:
    """The process has ended, killed where it took too long."""
    handle = os.pidfd_open(pid)
    try:
        poll = select.poll()
        poll.register(handle, select.POLLIN)
        if not poll.poll(PATIENCE * 1000):
            os.kill(pid, signal.SIGKILL)
    finally:
        os.close(handle)


class Side(Protocol):
    """What is measured: a Command, or what can be run in its place."""

    def run(self) -> Run:
        """One run. Raises Failed."""


class Turns(NamedTuple):
    """Runs of theirs and of each of ours taken in turns, and the one-minute load average before and after."""

    theirs: list[Run]
    ours: list[list[Run]]
    load: tuple[float, float]


def in_turns(theirs: Side, ours: Sequence[Side], count: int) -> Turns:
    """`count` runs of each, A B C, B C A and so on, so that none always runs after the same one. Raises Failed."""
    made = Turns([], [[] for _ in ours], (os.getloadavg()[0], 0.0))
    every: list[tuple[Side, list[Run]]] = [(theirs, made.theirs), *zip(ours, made.ours, strict=True)]
    for turn in range(count):
        first = turn % len(every)
        for command, runs in every[first:] + every[:first]:
            runs.append(command.run())
    return made._replace(load=(made.load[0], os.getloadavg()[0]))
