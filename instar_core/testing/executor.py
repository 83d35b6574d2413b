"""The host's part of a change, played in memory: runs are offered, edits applied, and every write remembered.

What was remembered can be played back as a power cut would have left it.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING, NamedTuple

from instar_core import limits
from instar_core.source import Image
from instar_core.testing import sealing
from instar_core.testing.law import Broken, holds
from instar_core.testing.medium import Disk, source
from instar_core.types import Barrier, Copy, Geometry, Kind, Punch, Put, Reserve, Truncate, Zero

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from random import Random

    from instar_core.testing.content import Offer
    from instar_core.testing.subject import Subject
    from instar_core.types import Coding, Create, Edit, Run, WriteRequest

SECTOR = 512
REACH = 1 << 63
EDITS = (Put, Copy, Zero, Punch, Reserve, Truncate)
WAITING = limits.BATCH
"""Runs that may be asked for while an earlier one is not placed yet: a host holds the bytes of all of them."""


class Step(NamedTuple):
    """One thing done to a device: write, zero, truncate, or the barrier after which all before is safe."""

    what: str
    device: int = 0
    offset: int = 0
    data: bytes = b""
    length: int = 0


class RecordingDevice:
    """Files that remember how they came about."""

    def __init__(self, base: Sequence[Disk]) -> None:
        self.base = [disk.copy() for disk in base]
        self.files = [disk.copy() for disk in base]
        self.steps: list[Step] = []

    def do(self, step: Step) -> None:
        """The step is done and remembered."""
        self.steps.append(step)
        play(self.files, step)

    def prefix(self, count: int) -> list[Disk]:
        """The files as they were after so many steps."""
        files = [disk.copy() for disk in self.base]
        for step in self.steps[:count]:
            play(files, step)
        return files

    def cut(self, count: int, random: Random) -> list[Disk]:
        """The files as a power cut after so many steps may leave them.

        All before the last barrier is there; of what came after it each write is there, missing, or torn: only some of
        its sectors of 512 bytes made it.
        """
        safe = max((at + 1 for at, step in enumerate(self.steps[:count]) if step.what == "barrier"), default=0)
        files = self.prefix(safe)
        for step in self.steps[safe:count]:
            fate = random.randrange(3)
            if fate == 0:
                play(files, step)
            elif fate == 1 and step.what == "write":
                for piece in sectors(step):
                    if random.random() < 0.5:
                        play(files, piece)
        return files

    def barriers(self) -> list[int]:
        """The number of steps before each barrier."""
        return [at for at, step in enumerate(self.steps) if step.what == "barrier"]


def sectors(step: Step) -> Iterator[Step]:
    """The write, sector by sector: a power cut may leave any of them."""
    at = 0
    while at < len(step.data):
        some = SECTOR - (step.offset + at) % SECTOR
        yield step._replace(offset=step.offset + at, data=step.data[at : at + some])
        at += some


def play(files: list[Disk], step: Step) -> None:
    """The step is done to the files."""
    if step.what == "write":
        files[step.device].write(step.offset, step.data)
    elif step.what == "zero":
        files[step.device].zero(step.offset, step.length)
    elif step.what == "punch":
        file = files[step.device]
        size = file.size
        file.zero(step.offset, min(step.length, max(0, size - step.offset)))
    elif step.what == "truncate":
        files[step.device].truncate(step.length)


class Made(NamedTuple):
    """A new image: its geometry, its files with their history, and how many bytes of runs were offered."""

    geometry: Geometry
    recording: RecordingDevice
    offered: int

    @property
    def files(self) -> list[Disk]:
        """The files as they are at the end; device 0 first."""
        return self.recording.files

    def named(self) -> dict[bytes, Disk]:
        """The further files by the names that the geometry gave them."""
        return {file.name: disk for file, disk in zip(self.geometry.files, self.files[1:], strict=True)}


def make(subject: Subject, request: Create, offer: Callable[[Geometry], Iterable[Offer]]) -> Made:
    """A new image, made by the plugin's writer from the runs that `offer` makes for its geometry.

    Raises Broken where an edit is not allowed, where a run is not placed exactly once, and where a writer makes the
    host hold more than WAITING runs; what the writer raises comes through.
    """
    desk = Desk()
    stream = subject.write(None, sealing.sealed(subject, request), desk.runs())
    geometry = next(stream, None)
    if not isinstance(geometry, Geometry):
        raise Broken(f"a writer begins with {type(geometry).__name__}, not with its Geometry")
    _possible(geometry, request)
    files = [Disk(), *(Disk() for _ in geometry.files)]
    for disk, file in zip(files[1:], geometry.files, strict=True):
        disk.truncate(file.size)
    desk.open(offer(geometry), RecordingDevice(files), geometry.cipher)
    for edit in stream:
        holds(not isinstance(edit, Geometry), "a writer states its geometry twice")
        desk.apply(edit)  # type: ignore[arg-type]
    desk.finish()
    holds(desk.recording.barriers(), "a writer ends without a barrier")
    return Made(geometry, desk.recording, desk.offered)


def change(subject: Subject, files: Sequence[Disk], request: WriteRequest) -> RecordingDevice:
    """The history of a change to an existing image; the files given stay as they are."""
    desk = Desk()
    desk.open((), RecordingDevice(files))
    before = [disk.copy() for disk in files]
    for edit in subject.write(Image([source(disk) for disk in before]), request, desk.runs()):
        holds(not isinstance(edit, Geometry), "a change of an existing image states a geometry")
        desk.apply(edit)  # type: ignore[arg-type]
    desk.finish()
    return desk.recording


def _possible(geometry: Geometry, request: Create) -> None:
    holds(0 < geometry.unit <= limits.UNIT, f"a writer wants units of {geometry.unit} bytes")
    holds(geometry.unit % SECTOR == 0, f"a unit of {geometry.unit} bytes is not made of sectors")
    holds(geometry.size >= request.size, f"a disk of {request.size} bytes would be made {geometry.size}")
    holds(geometry.overhead >= 0, "the overhead of a format cannot be negative")
    if geometry.coding is not None:
        holds(geometry.coding.whole and geometry.coding.unit == geometry.unit, "runs are encoded in whole units")
    for file in geometry.files:
        holds(file.named or b"/" not in file.name, f"a further file is called {file.name!r}")


class Desk:
    """Where runs wait for their copies."""

    def __init__(self) -> None:
        self.recording = RecordingDevice(())
        self.offered = 0
        self._offers: Iterator[Offer] = iter(())
        self._starts: list[int] = []
        self._waiting: dict[int, tuple[int, Offer, list[tuple[int, int]]]] = {}
        self._count = 0
        self._cipher: Coding | None = None

    def open(self, offers: Iterable[Offer], recording: RecordingDevice, cipher: Coding | None = None) -> None:
        """Runs can be asked for from now on, and edits applied; copies are encrypted where there is a cipher."""
        self._offers = iter(offers)
        self.recording = recording
        self._cipher = cipher

    def runs(self) -> Iterator[Run]:
        """The runs, as a writer asks for them."""
        for offer in self._offers:
            self._count += 1
            if offer.run.kind == Kind.DATA:
                oldest = next(iter(self._waiting.values()), (self._count,))[0]
                holds(
                    self._count - oldest <= WAITING,
                    f"a writer asks for run {self._count} while run {oldest} is not placed: a host's memory is bounded",
                )
                self._waiting[offer.run.start] = self._count, offer, []
                self._starts.append(offer.run.start)
                self.offered += len(offer.data)
            yield offer.run

    def apply(self, edit: Edit) -> None:
        """The edit is checked and done."""
        if isinstance(edit, Barrier):
            self.recording.do(Step("barrier"))
            return
        holds(isinstance(edit, EDITS), f"a writer yields a {type(edit).__name__}, which is no edit")
        count = len(self.recording.files)
        holds(0 <= edit.device < count, f"{type(edit).__name__} names device {edit.device} of {count}")
        if isinstance(edit, Truncate):
            holds(0 <= edit.size < REACH, f"a file would have {edit.size} bytes")
            self.recording.do(Step("truncate", edit.device, 0, b"", edit.size))
            return
        length = len(edit.data) if isinstance(edit, Put) else edit.length
        holds(edit.offset >= 0, f"{type(edit).__name__} at {edit.offset}")
        holds(length >= 0 and edit.offset + length < REACH, f"{type(edit).__name__} of {length} bytes at {edit.offset}")
        if isinstance(edit, Put):
            holds(isinstance(edit.data, bytes), f"a Put of {type(edit.data).__name__}")
            holds(length <= limits.PUT, f"a Put of {length} bytes is longer than limits.PUT")
            self.recording.do(Step("write", edit.device, edit.offset, edit.data))
        elif isinstance(edit, Copy):
            data = self._taken(edit)
            if self._cipher is not None:
                data = sealing.encrypted(self._cipher, edit, data)
            self.recording.do(Step("write", edit.device, edit.offset, data))
        elif isinstance(edit, Zero):
            self.recording.do(Step("zero", edit.device, edit.offset, b"", length))
        elif isinstance(edit, Reserve):
            self._reserve(edit)
        else:
            self.recording.do(Step("punch", edit.device, edit.offset, b"", length))

    def _reserve(self, edit: Reserve) -> None:
        """Room on disk changes no content; it only makes a file as long as it needs to be."""
        holds(edit.how in ("falloc", "full"), f"no room is reserved by {edit.how!r}")
        end = edit.offset + edit.length
        if end > self.recording.files[edit.device].size:
            self.recording.do(Step("truncate", edit.device, 0, b"", end))

    def _taken(self, edit: Copy) -> bytes:
        """The bytes that a copy puts down, now placed."""
        at = bisect_right(self._starts, edit.start) - 1
        entry = self._waiting.get(self._starts[at]) if at >= 0 else None
        if entry is None:
            raise Broken(f"a Copy of {edit.length} bytes at {edit.start}, which was not offered or is placed")
        _, (run, data), placed = entry
        first = edit.start - run.start
        last = first + edit.length
        if run.coding:
            holds(not first and edit.length == run.stored, f"the run at {run.start} is encoded and only copied whole")
        holds(edit.length > 0 and last <= len(data), f"a Copy of [{first}, {last}) of a run of {len(data)} bytes")
        holds(all(last <= a or b <= first for a, b in placed), f"bytes at {edit.start} are copied twice")
        placed.append((first, last))
        if sum(b - a for a, b in placed) == len(data):
            del self._waiting[run.start]
        return data[first:last]

    def finish(self) -> None:
        """Every run was asked for and placed."""
        holds(next(self._offers, None) is None, "a writer ended before it had asked for all runs")
        left = next(iter(self._waiting.values()), None)
        holds(left is None, f"the run at {left and left[1].run.start} was not placed")
