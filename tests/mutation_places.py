"""Hostile images as files, shown to sessions in a sandbox."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from instar_core import device
from instar_core.errors import FormatError
from instar_core.session import FormatSession
from instar_core.settings import Settings
from instar_core.types import Layer

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from instar_core.testing.hostile import Mutation
    from instar_core.testing.specimen import Specimen

SECONDS = 20.0
"""Wall-clock time that an operation in a sandbox may take."""
MOST = 20_000
"""Extents or findings that are looked at."""
OPERATIONS = ("info", "map", "check")


class Files:
    """The files of an image, in which changes are made and taken back."""

    def __init__(self, folder: Path, image: Specimen) -> None:
        self.media = image.media
        self.paths = [folder / f"device{index}" for index in range(len(image.media))]
        for path, medium in zip(self.paths, self.media, strict=True):
            path.write_bytes(medium.pread(medium.size, 0))

    def change(self, made: Mutation) -> None:
        """The change is made."""
        with open(self.paths[made.device], "r+b") as handle:
            for offset, data in made.patches:
                handle.seek(offset)
                handle.write(data)
            handle.truncate(self.media[made.device].size if made.size is None else made.size)

    def restore(self, made: Mutation) -> None:
        """The change is taken back."""
        medium = self.media[made.device]
        with open(self.paths[made.device], "r+b") as handle:
            for offset, data in made.patches:
                handle.seek(offset)
                handle.write(medium.pread(len(data), offset))
            if made.size is not None:
                handle.seek(made.size)
                handle.write(medium.pread(max(0, medium.size - made.size), made.size))
            handle.truncate(medium.size)

    def same(self) -> bool:
        """Whether the files are as they were at first."""
        pairs = zip(self.paths, self.media, strict=True)
        return all(path.read_bytes() == medium.pread(medium.size, 0) for path, medium in pairs)


class Told(NamedTuple):
    """What became of hostile images: outcomes by name, what should not have been, the slowest operation."""

    done: int
    outcomes: Counter[str]
    failures: list[str]
    slowest: tuple[float, str]

    def __str__(self) -> str:
        lines = [f"{self.done} hostile images; slowest {self.slowest[0]:.2f} s: {self.slowest[1]}"]
        lines += [f"  {outcome}: {times}" for outcome, times in sorted(self.outcomes.items())]
        return "\n".join(lines + self.failures)


def ask(paths: Sequence[Path], format: str, operation: str, place: str) -> str:
    """What the operation comes to in the sandbox: the name of the outcome."""
    settings = Settings(sandbox=place, timeout=SECONDS)
    devices = [device.open_named(str(path)) for path in paths]
    try:
        with FormatSession(devices, operation, settings, format=None if operation == "info" else format) as session:
            if operation == "info":
                session.probe()
                return "probed"
            info = session.info(format)
            if operation == "check":
                stream = session.check(format)
            else:
                stream = session.map(format, info, Layer(), 0, info.virtual_size)
            for count, _ in enumerate(stream):
                if count > MOST:
                    break
            return f"{operation} answered"
    except FormatError as error:
        return f"{operation} refused: {error.kind}"
    finally:
        for one in devices:
            one.close()


def show(cases: Iterable[tuple[Specimen, Mutation]], format: str, folder: Path, place: str) -> Told:
    """Every case was probed, mapped and checked in the sandbox, and its files are as they were."""
    told, slowest, done = Counter[str](), (0.0, ""), 0
    failures: list[str] = []
    files: dict[str, Files] = {}
    for image, made in cases:
        if image.name not in files:
            room = folder / f"{format}-{len(files)}"
            room.mkdir(parents=True)
            files[image.name] = Files(room, image)
        there = files[image.name]
        there.change(made)
        for operation in OPERATIONS:
            start = time.monotonic()
            what = f"{operation} of {image.name}, {made.title}"
            try:
                told[ask(there.paths, format, operation, place)] += 1
            except Exception as error:  # whatever else comes out is the failure that is looked for
                failures.append(f"{what}: {type(error).__name__}: {error}")
            slowest = max(slowest, (time.monotonic() - start, what))
        there.restore(made)
        done += 1
    failures += [f"a change of {name} was not taken back" for name, there in files.items() if not there.same()]
    return Told(done, told, failures, slowest)
