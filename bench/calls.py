"""What a service does with the library in place of a command: a call, with sandboxes that stand ready."""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable
from typing import NamedTuple

import instar_core
from bench import offsets
from bench.measure import Failed, Run, fresh
from instar_core.cli.render import info as rendered

GROWN, SHRUNK = 8 << 30, 512 << 20
STANDING = 2
"""Sandboxes that stand ready."""

Act = Callable[[instar_core.Settings, str], str | None]


def _info(settings: instar_core.Settings, path: str) -> str:
    return rendered.json(instar_core.info(path, settings=settings), settings, chain=False)


def _reads(settings: instar_core.Settings, path: str) -> None:
    with instar_core.open(path, format="qcow2", settings=settings) as disk:
        for offset in offsets.scattered(disk.size):
            disk.pread(offsets.PIECE, offset)


def reads_right(settings: instar_core.Settings, path: str, raw: str) -> bool:
    """Whether what is read at the offsets is what the raw disk has there."""
    with open(raw, "rb") as file, instar_core.open(path, format="qcow2", settings=settings) as disk:
        return all(
            disk.pread(offsets.PIECE, offset) == os.pread(file.fileno(), offsets.PIECE, offset)
            for offset in offsets.scattered(disk.size)
        )


CALLS: dict[str, Act] = {
    "info": _info,
    "random-reads": _reads,
    "snapshot-create": lambda how, path: instar_core.snapshot.create(path, "s", format="qcow2", settings=how),
    "snapshot-apply": lambda how, path: instar_core.snapshot.apply(path, "s", format="qcow2", settings=how),
    "snapshot-delete": lambda how, path: instar_core.snapshot.delete(path, "s", format="qcow2", settings=how),
    "resize-grow": lambda how, path: _sized(path, 1, GROWN, how),
    "resize-shrink": lambda how, path: _sized(path, -1, SHRUNK, how),
    "commit": lambda how, path: instar_core.commit(path, format="qcow2", settings=how),
    "rebase": lambda how, path: instar_core.rebase(
        path, "other.qcow2", backing_format="qcow2", format="qcow2", settings=how
    ),
    "rebase-none": lambda how, path: instar_core.rebase(path, None, format="qcow2", settings=how),
}
"""The call that does what the case of this name has qemu-img do, to the image at a path."""


def _sized(path: str, direction: int, size: int, settings: instar_core.Settings) -> None:
    instar_core.resize(path, size, relative=direction, shrink=True, format="qcow2", settings=settings)


@functools.cache
def pool(place: str) -> instar_core.Pool:
    """The pool of this process for a kind of sandbox; it ends with the process."""
    return instar_core.Pool(STANDING, sandbox=place)


def service(place: str) -> instar_core.Settings:
    """How a service calls the library."""
    return pool(place).settings._replace(policy="qemu")


class Call(NamedTuple):
    """A call for the image at `path`, measured as a Command is; `copies` as there. Its answer goes to `output`."""

    act: Act
    path: str
    folder: str
    place: str
    output: str = os.devnull
    copies: tuple[str, ...] = ()

    def run(self) -> Run:
        """The call has returned; of processor time nothing is known. Raises Failed."""
        settings = service(self.place)
        fresh(self.folder, self.copies)
        begin = time.perf_counter()
        try:
            answer = self.act(settings, self.path)
        except instar_core.InstarError as error:
            raise Failed(str(error)) from error
        wall = time.perf_counter() - begin
        with open(self.output, "w", encoding="utf-8") as file:
            file.write(answer or "")
        return Run(wall, 0.0)
