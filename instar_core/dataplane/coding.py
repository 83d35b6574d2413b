"""Codec workers: jailed processes that encode and decode batches of pieces in memory shared with the host.

The host reads stored pieces straight into a worker's arena and takes content out of it; only tables of places cross the
channel. Each arena has two slots, so that a worker has a batch to do while the host sees to the other.
"""

from __future__ import annotations

import fcntl
import mmap
import os

from instar_core import guests, limits, wire
from instar_core.dataplane.positional import clear, read_into
from instar_core.dataplane.reported import reported
from instar_core.errors import ContractViolation, InstarError, SandboxError
from instar_core.worker.codec import ENTRY, FAILED, FAILURE, LENGTHS, MADE, UNABLE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from instar_core.types import Coding

PROGRAM = "instar_core.worker.codec"
DECODE, ENCODE = "decode", "encode"

BATCH = 1 << 20
"""Content of one batch: long enough to hide the way to the worker and back, short enough for the processor's cache."""

SLOTS = 2
MOST_WORKERS = 8
MEMORY = 48 << 20
"""Bytes of all arenas of one coding, unless one worker alone needs more."""

GAP = 4096
"""Stored pieces that lie no further apart than this are read at once."""

SEALS = 0x1 | 0x2 | 0x4
"""F_SEAL_SEAL, F_SEAL_SHRINK, F_SEAL_GROW: a worker cannot take the host's memory away."""
F_ADD_SEALS = 1033


class Job:
    """A batch for one worker: filled with `read` or `add` while they say True, submitted, waited for, released.

    `failure` is (index of the piece, why) after `wait` if a piece could not be coded.
    """

    __slots__ = (
        "_entries", "_full", "_inside", "_lengths", "_outside", "_reads", "_slot", "_unable", "_worker", "failure",
    )  # fmt: skip

    def __init__(self, worker: _Worker, slot: int) -> None:
        self._worker = worker
        self._slot = slot
        self._entries: list[tuple[int, int, int, int, int]] = []
        self._reads: list[list[int]] = []
        self._inside = 0
        self._outside = 0
        self._lengths: list[int] | None = None
        self._full: bool | None = None
        self._unable: InstarError | None = None
        self.failure: tuple[int, InstarError] | None = None

    def read(self, descriptor: int, offset: int, stored: int, room: int, *, limit: int = 0, number: int = 0) -> bool:
        """The piece at this place of a file is in the batch and may become `room` bytes; False if the batch is full."""
        if self._outside + room > self._worker.outside:
            return False
        last = self._reads[-1] if self._reads else None
        if last and last[0] == descriptor and last[3] == limit and last[1] <= offset <= last[1] + last[2] + GAP:
            more = max(0, offset + stored - last[1] - last[2])
            if self._inside + more > self._worker.inside:
                return False
            place = last[4] + offset - last[1]
            last[2] += more
            self._inside += more
        else:
            if self._inside + stored > self._worker.inside:
                return False
            place = self._inside
            self._reads.append([descriptor, offset, stored, limit, place])
            self._inside += stored
        self._enter(place, stored, room, number)
        return True

    def add_units(self, content: memoryview, unit: int, room: int) -> int:
        """As many of the content's whole units as fit are pieces of the batch, each for itself; their number."""
        worker = self._worker
        spare = worker.outside - self._outside
        count = min(len(content), worker.inside - self._inside) // unit
        if count * room > spare:
            count = spare // room
        if count:
            at = self._inside
            length = count * unit
            worker.input(self._slot)[at : at + length] = content[:length]
            for _ in range(count):
                self._enter(at, unit, room, 0)
                at += unit
            self._inside = at
        return count

    def add(self, content: memoryview, unit: int, room: int, *, number: int = 0) -> bool:
        """The content, with zeros up to a unit, is part of the batch; False if the batch is full."""
        if self._inside + unit > self._worker.inside or self._outside + room > self._worker.outside:
            return False
        view = self._worker.input(self._slot)[self._inside : self._inside + unit]
        view[: len(content)] = content
        clear(view[len(content) :])
        self._enter(self._inside, unit, room, number)
        self._inside += unit
        return True

    def _enter(self, place: int, length: int, room: int, number: int) -> None:
        base = self._slot * (self._worker.inside + self._worker.outside)
        self._entries.append((base + place, length, base + self._worker.inside + self._outside, room, number))
        self._outside += room

    @property
    def count(self) -> int:
        """Pieces of the batch."""
        return len(self._entries)

    def submit(self) -> None:
        """The pieces are read and the worker is at it. Raises DeviceError."""
        view = self._worker.input(self._slot)
        for descriptor, offset, length, limit, place in self._reads:
            read_into(descriptor, view[place : place + length], offset, limit=limit)
        self._worker.send(self, b"".join([ENTRY.pack(*entry) for entry in self._entries]))

    def wait(self) -> list[int]:
        """Lengths of the results, once the worker has answered; up to the piece that failed.

        Raises what the worker says where it can do nothing at all: NotInstalled, FormatError.
        """
        while self._lengths is None:
            self._worker.receive()
        if self._unable is not None:
            raise self._unable
        return self._lengths

    def abandon(self) -> None:
        """Nobody wants the results any more; the slot is free once the worker has answered, never if it is lost."""
        try:
            while self._lengths is None:
                self._worker.receive()
        except InstarError:
            return
        self.release()

    def result(self, index: int) -> memoryview:
        """What became of a piece, until the job is released."""
        _, _, place, _, _ = self._entries[index]
        return self._worker.arena[place : place + self.wait()[index]]

    def results(self) -> list[bytes]:
        """Copies of what became of all pieces."""
        arena = self._worker.arena
        return [
            bytes(arena[entry[2] : entry[2] + length]) for entry, length in zip(self._entries, self.wait(), strict=True)
        ]

    @property
    def full(self) -> bool:
        """Whether every piece has been coded and fills its room, so that what became of neighbours touches."""
        if self._full is None:
            self._full = self.wait() == [entry[3] for entry in self._entries]
        return self._full

    def filled(self, index: int, length: int) -> memoryview:
        """What became of a piece and those after it, `length` bytes that fill their rooms, until the job is released.

        Raises ContractViolation where the results do not fill their rooms.
        """
        if not self.full:
            raise ContractViolation("a codec worker made less than was wanted")
        place = self._entries[index][2]
        return self._worker.arena[place : place + length]

    def release(self) -> None:
        """The slot is free for another batch."""
        self._worker.free.append(self._slot)

    def answered(self, frame: bytes) -> None:
        """The worker's answer is taken down, if it is one. Raises ContractViolation."""
        tag, at, count = frame[:1], 1, self.count
        if tag == UNABLE:
            self._unable = reported(frame[1:])
            self._lengths = []
            return
        if tag == FAILURE and len(frame) >= 1 + FAILED.size:
            (count,) = FAILED.unpack_from(frame, 1)
            at += FAILED.size
        elif tag != LENGTHS or len(frame) != 1 + MADE.size * count:
            raise ContractViolation("a codec worker's answer cannot be read")
        if count > self.count - (tag == FAILURE) or len(frame) < at + MADE.size * count:
            raise ContractViolation("a codec worker's answer cannot be read")
        lengths = [length for (length,) in MADE.iter_unpack(frame[at : at + MADE.size * count])]
        if any(length > entry[3] for length, entry in zip(lengths, self._entries, strict=False)):
            raise ContractViolation("a codec worker made more than there is room for")
        if tag == FAILURE:
            self.failure = count, reported(frame[at + MADE.size * count :])
        self._lengths = lengths


class _Worker:
    """One jailed process and the arena that it shares with the host."""

    def __init__(
        self, start: Callable[[dict[str, Any], int], Any], order: dict[str, Any], inside: int, outside: int, slots: int
    ):
        self.inside, self.outside = inside, outside
        size = slots * (inside + outside)
        # Open for as long as the worker lives: the inline platform looks at it only when it is first asked.
        self._descriptor = os.memfd_create("codec", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            os.ftruncate(self._descriptor, size)
            fcntl.fcntl(self._descriptor, F_ADD_SEALS, SEALS)
            self._map = mmap.mmap(self._descriptor, size)
            # Workers are forked from this process: one must not see what another works on.
            self._map.madvise(mmap.MADV_DONTFORK)
            self._session = start({**order, "size": size}, self._descriptor)
        except BaseException:
            os.close(self._descriptor)
            raise
        self.arena = memoryview(self._map)
        self.free = list(range(slots))
        self.slots = slots
        self.waiting: list[Job] = []

    @property
    def idle(self) -> bool:
        """Whether nobody works in the arena or looks at it."""
        return len(self.free) == self.slots

    def input(self, slot: int) -> memoryview:
        """Where the sources of a slot's batch go."""
        base = slot * (self.inside + self.outside)
        return self.arena[base : base + self.inside]

    def send(self, job: Job, request: bytes) -> None:
        """The worker has the request."""
        import instar_sandbox

        try:
            self._session.send(request)
        except instar_sandbox.JailError as error:
            raise SandboxError(str(error)) from error
        self.waiting.append(job)

    def receive(self) -> None:
        """The oldest waiting job has its answer."""
        import instar_sandbox

        try:
            frame = self._session.receive()
        except instar_sandbox.JailError as error:
            raise SandboxError(str(error)) from error
        self.waiting.pop(0).answered(frame)

    def close(self) -> None:
        """The process is gone, and the arena as soon as nobody looks at it."""
        self._session.close()
        self.arena.release()
        os.close(self._descriptor)


class CodecPool:
    """Workers by direction and coding, started when they are first needed, closed with the pool."""

    def __init__(
        self, platform: str = "auto", *, workers: int = 0, timeout: float | None = None, guarded: bool = False
    ) -> None:
        """`guarded`: this process holds a key, or soon will; no worker may begin with a copy of its memory."""
        self._platform = platform
        self._most = workers or min(len(os.sched_getaffinity(0)), MOST_WORKERS)
        self._timeout = timeout
        self._guarded = guarded
        self._workers: dict[tuple[str, int], list[_Worker]] = {}
        self._codings: dict[tuple[str, int], Coding] = {}

    def __enter__(self) -> CodecPool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """No worker is left."""
        for workers in self._workers.values():
            for worker in workers:
                worker.close()
        self._workers.clear()
        self._codings.clear()

    def job(self, direction: str, coding: Coding, *, must: bool = False) -> Job | None:
        """An empty batch, or None while every worker has all that it can hold: then release older jobs first.

        Who has no older job to release (others use the pool too) must get one, if need be from one more worker.
        """
        # Codings hold mappings and have no hash; the pool keeps each one alive, so that its identity stays its own.
        key = direction, id(coding)
        self._codings[key] = coding
        workers = self._workers.setdefault(key, [])
        best = min(workers, key=lambda worker: len(worker.waiting) - len(worker.free), default=None)
        inside, outside, slots, most = self._shape(direction, coding)
        if best is None or ((not best.free or best.waiting) and len(workers) < most) or (must and not best.free):
            self._make_room(key)
            order = {"direction": direction, "name": coding.name, "params": dict(coding.params), "unit": coding.unit}
            best = _Worker(self._start, order, inside, outside, slots)
            workers.append(best)
        return Job(best, best.free.pop()) if best.free else None

    def _shape(self, direction: str, coding: Coding) -> tuple[int, int, int, int]:
        """(room for sources, room for results, slots, most workers) for a coding."""
        batch = max(BATCH, coding.unit)
        if not coding.whole:
            inside, outside = batch + GAP, batch
        elif direction == ENCODE:
            inside, outside = batch, batch // coding.unit * room_to_encode(coding.unit)
        else:
            inside = max(batch, 2 * coding.unit + limits.PAGE) + GAP
            outside = batch
        slot = -(-(inside + outside) // mmap.PAGESIZE) * mmap.PAGESIZE
        inside = slot - outside
        slots = SLOTS if SLOTS * slot <= MEMORY else 1
        return inside, outside, slots, max(1, min(self._most, MEMORY // (slots * slot)))

    def _make_room(self, wanted: tuple[str, int]) -> None:
        """Idle workers of other codings are closed while there are many: a chain may have thousands of codings."""
        for key in [key for key in self._workers if key != wanted]:
            if sum(map(len, self._workers.values())) < 2 * MOST_WORKERS:
                return
            if all(worker.idle for worker in self._workers[key]):
                for worker in self._workers.pop(key):
                    worker.close()
                del self._codings[key]

    def _start(self, order: dict[str, Any], descriptor: int) -> Any:
        import instar_sandbox

        # What an encoder sees is not parsed by anyone: it needs no guest.
        place = "process" if order["direction"] == ENCODE and self._platform != "inline" else self._platform
        bounds = instar_sandbox.Limits(limits.CODEC_CPU, limits.WORKER_MEMORY, self._timeout)
        try:
            return instar_sandbox.start(
                place,
                instar_sandbox.Program(PROGRAM, wire.encode(order)),
                [descriptor],
                bounds,
                # Who holds a key forks no workers: each would begin with a copy of it.
                server=True if self._guarded or "key" in order["params"] else None,
                snapshot=guests.snapshot(guests.BULK, place),
            )
        except instar_sandbox.JailError as error:
            raise SandboxError(str(error)) from error


def room_to_encode(unit: int) -> int:
    """Bytes that a unit may grow to when it is encoded."""
    return unit + unit // 64 + 1024
