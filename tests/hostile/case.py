"""What a hostile image is, what is asked of it, and what must come of that: data."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

MIB = 1 << 20
ANY = "…"
"""In expected lines: any text, or none."""
LINES = "⋮"
"""In place of an expected line: any lines, or none; and in it, any text of any lines before."""
NAMES = ("instar", "qemu-img")


class Link(NamedTuple):
    """A symbolic link."""

    target: str


class Hard(NamedTuple):
    """One more name of a file that was written before it."""

    target: str


class Fifo(NamedTuple):
    """A named pipe: who opens it the ordinary way waits for ever."""


class Socket(NamedTuple):
    """A socket that nobody listens to."""


class Blob:
    """A file as pieces at offsets; the rest of its `size` bytes is a hole. A later piece covers an earlier one."""

    def __init__(self, data: bytes = b"", size: int = 0) -> None:
        self.pieces: list[tuple[int, bytes]] = [(0, data)] if data else []
        self.size = max(size, len(data))

    def put(self, offset: int, data: bytes) -> Blob:
        """The same file with these bytes there."""
        self.pieces.append((offset, bytes(data)))
        self.size = max(self.size, offset + len(data))
        return self

    def cut(self, size: int) -> Blob:
        """The same file, `size` bytes long."""
        self.size = size
        return self

    def content(self) -> bytes:
        """All of it, holes included."""
        made = bytearray(self.size)
        for offset, data in self.pieces:
            made[offset : offset + len(data)] = data
        return bytes(made[: self.size])

    def write(self, path: Path) -> None:
        """The file is there."""
        with path.open("wb") as file:
            for offset, data in self.pieces:
                file.seek(offset)
                file.write(data)
            file.truncate(self.size)


File = bytes | Blob | Link | Hard | Fifo | Socket


class Place(NamedTuple):
    """Where a case is played: `vm` is the folder of its image, `outside` one that no image has a right to."""

    vm: str
    outside: str


class Ask(NamedTuple):
    """A command line after the name of the program, and its outcome.

    `line` is standard error without the program's name, empty for nothing at all; `shows` are texts of standard
    output. It is put to the program under each of the `names`.
    """

    words: tuple[str, ...]
    code: int = 1
    line: str = ""
    shows: tuple[str, ...] = ()
    names: tuple[str, ...] = NAMES


class Case(NamedTuple):
    """A trick: who found it or why it is one, the files that play it, the questions and their answers."""

    name: str
    trick: str
    source: str
    files: Callable[[Place], Mapping[str, File]]
    asks: tuple[Ask, ...]
    opened: tuple[str, ...] = ()
    """Files of the outside that the policy lets be opened, though not shown."""
    qemu: str = ""
    """What qemu-img 11.1.3 does instead, where it does not refuse as well."""
    seconds: float = 20.0
    memory: int = 400 * MIB


VERBS: Mapping[str, tuple[str, ...]] = {
    "info": ("info",),
    "map": ("map", "--output=json"),
    "check": ("check",),
    "measure": ("measure", "-O", "qcow2"),
    "convert": ("convert", "-O", "raw"),
}


def ask(verb: str, image: str, code: int, line: str = "", shows: Iterable[str] = (), given: Sequence[str] = ()) -> Ask:
    """One question about an image; a conversion goes to the file `out`. `given` are options.

    Only instar is asked to check: of most formats qemu-img says that it cannot.
    """
    target = ("out",) if verb == "convert" else ()
    names = NAMES[:1] if verb == "check" else NAMES
    return Ask((*VERBS[verb], *given, image, *target), code, line, tuple(shows), names)


def only(data: bytes | Blob, name: str = "x") -> Callable[[Place], Mapping[str, File]]:
    """The files of a case that consists of one image."""
    return lambda _: {name: data}


def always(files: Mapping[str, File]) -> Callable[[Place], Mapping[str, File]]:
    """These files, wherever the case is played."""
    return lambda _: files


def write(files: Mapping[str, File], folder: Path) -> None:
    """The files are there. Names may lead through folders, which are made."""
    for name, file in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(file, bytes):
            path.write_bytes(file)
        elif isinstance(file, Blob):
            file.write(path)
        elif isinstance(file, Link):
            path.symlink_to(file.target)
        elif isinstance(file, Hard):
            path.hardlink_to(folder / file.target)
        elif isinstance(file, Fifo):
            os.mkfifo(path)
        else:
            os.mknod(path, 0o600 | stat.S_IFSOCK)


def walk(map: str = "", check: int = 0, convert: str | None = None) -> tuple[Ask, ...]:
    """The image opens. `map` is what map says instead of a map, `convert` the same (by default as map), and `check`
    the exit code of check, whose findings may be anything."""
    last = map if convert is None else convert
    return (
        ask("info", "x", 0)._replace(names=NAMES[1:]),
        ask("map", "x", 1 if map else 0, map)._replace(names=NAMES[:1]),
        Ask(("check", "x"), check, LINES, (), NAMES[:1]),
        ask("convert", "x", 1 if last else 0, last)._replace(names=NAMES[1:]),
    )


def closed(message: str) -> tuple[Ask, ...]:
    """The image does not open: info says why under one name, and as a source it is refused under the other."""
    line = f"Could not open 'x': {message}"
    return (
        ask("info", "x", 1, line)._replace(names=NAMES[:1]),
        ask("convert", "x", 1, line)._replace(names=NAMES[1:]),
    )
