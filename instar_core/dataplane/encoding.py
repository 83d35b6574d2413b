"""Content on its way through encoders: every unit that holds something, in order, several batches at a time."""

from __future__ import annotations

from instar_core.dataplane.coding import ENCODE, room_to_encode
from instar_core.dataplane.sparse import rounded
from instar_core.errors import ContractViolation

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator

    from instar_core.dataplane.coding import CodecPool, Job
    from instar_core.dataplane.loading import Load
    from instar_core.dataplane.plans import Block
    from instar_core.types import Coding

WAITING = 32
"""Loads that wait for earlier ones at the most."""


class Unit:
    """One unit of content. `stored` is None until the answer came, and stays so where encoding does not pay."""

    __slots__ = ("block", "done", "length", "start", "stored")

    def __init__(self, block: Block, start: int, length: int) -> None:
        self.block = block
        self.start = start
        self.length = length
        self.stored: bytes | None = None
        self.done = False


class Encoding:
    """Encodes the units of loads: with `required` also those that grow by it, with `full` also zeros."""

    def __init__(self, pool: CodecPool, coding: Coding, *, required: bool, full: bool) -> None:
        self._pool = pool
        self._coding = coding
        self._room = room_to_encode(coding.unit) if required else coding.unit - 1
        self._required = required
        self._full = full
        self._open: Job | None = None
        self._members: list[Unit] = []
        self._flight: list[tuple[Job, list[Unit]]] = []

    def encoded(
        self, loads: Generator[Load, None, None]
    ) -> Generator[list[tuple[Load, list[Unit] | None]], None, None]:
        """The loads, one to a batch, each with its units that are to be placed."""
        waiting: list[tuple[Load, list[Unit]]] = []
        try:
            for load in loads:
                units = [unit for block in load.blocks if block.buffer for unit in self._units(block)]
                self._add(units)
                waiting.append((load, units))
                if len(waiting) > WAITING:
                    self._finish(waiting[0][1])
                while waiting and all(unit.done for unit in waiting[0][1]):
                    yield [waiting.pop(0)]
            for load, units in waiting:
                self._finish(units)
                yield [(load, units)]
        finally:
            self._close()
            loads.close()

    def _units(self, block: Block) -> list[Unit]:
        size, end = self._coding.unit, block.at + block.length
        wanted = [(block.at, block.length)]
        if not self._full and block.ranges is not None:
            wanted = rounded(block.ranges, block.at, size, end)
        return [
            Unit(block, block.start + place - block.at, min(size, end - place))
            for at, length in wanted
            for place in range(at, at + length, size)
        ]

    def _add(self, units: list[Unit]) -> None:
        """The units are in batches; neighbours go over at once."""
        size, at = self._coding.unit, 0
        while at < len(units):
            job = self._open or self._begun()
            unit, block = units[at], units[at].block
            place = block.at - block.memory.base + unit.start - block.start
            count = self._neighbours(units, at)
            if count:
                count = job.add_units(block.memory.view[place : place + count * size], size, self._room)
            elif job.add(block.memory.view[place : place + unit.length], size, self._room):
                count = 1
            if not count:
                self._submit()
            self._members += units[at : at + count]
            at += count

    def _neighbours(self, units: list[Unit], first: int) -> int:
        """How many whole units from this one on touch in their buffer."""
        size, block, start = self._coding.unit, units[first].block, units[first].start
        for at in range(first, len(units)):
            unit = units[at]
            if unit.block is not block or unit.start != start or unit.length != size:
                return at - first
            start += size
        return len(units) - first

    def _begun(self) -> Job:
        """An empty batch."""
        while True:
            job = self._pool.job(ENCODE, self._coding, must=not self._flight)
            if job is not None:
                self._open = job
                return job
            self._collect()

    def _submit(self) -> None:
        if self._open is not None:
            job, self._open = self._open, None
            job.submit()
            self._flight.append((job, self._members))
            self._members = []

    def _collect(self) -> None:
        job, units = self._flight.pop(0)
        job.wait()
        if job.failure:
            raise ContractViolation(f"the encoder of {self._coding.name} failed: {job.failure[1]}")
        for unit, stored in zip(units, job.results(), strict=True):
            if stored:
                unit.stored = stored
            elif self._required:
                raise ContractViolation(f"the encoder of {self._coding.name} made more than there is room for")
            unit.done = True
        job.release()

    def _finish(self, units: list[Unit]) -> None:
        while not all(unit.done for unit in units):
            if not self._flight:
                self._submit()
            self._collect()

    def _close(self) -> None:
        if self._open is not None:
            job, self._open = self._open, None
            job.release()
        for job, _ in self._flight:
            job.abandon()
        self._flight.clear()
