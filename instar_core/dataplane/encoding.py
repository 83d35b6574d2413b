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
                for unit in units:
                    self._add(unit)
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

    def _add(self, unit: Unit) -> None:
        buffer = unit.block.memory
        at = unit.block.at - buffer.base + unit.start - unit.block.start
        content = buffer.view[at : at + unit.length]
        while self._open is None or not self._open.add(content, self._coding.unit, self._room):
            self._submit()
            self._open = self._pool.job(ENCODE, self._coding, must=not self._flight)
            while self._open is None:
                self._collect()
                self._open = self._pool.job(ENCODE, self._coding, must=not self._flight)
        self._members.append(unit)

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
        for index, unit in enumerate(units):
            result = job.result(index)
            if len(result):
                unit.stored = bytes(result)
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
