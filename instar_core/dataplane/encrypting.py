"""Content on its way through a cipher to its place in a target: several batches at a time, written as they come back.

What is added is copied at once, so that the caller's buffers are free again; it is in the targets after `settle`.
"""

from __future__ import annotations

from instar_core.dataplane.coding import ENCODE
from instar_core.dataplane.positional import write_from
from instar_core.dataplane.sectors import sectors
from instar_core.errors import ContractViolation

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NamedTuple

    from instar_core.dataplane.coding import CodecPool, Job
    from instar_core.types import Coding
else:
    from instar_core.record import NamedTuple

CHUNK = 256 << 10
"""Most content of one piece of a batch."""

EMPTY = memoryview(b"")


class Stretch(NamedTuple):
    """Neighbours of a batch that are neighbours in a target: `length` bytes at `offset`, the first at `start` on the
    disk."""

    piece: int
    target: int
    offset: int
    length: int
    start: int


class Encrypting:
    """Encrypts a disk of `size` bytes sector by sector. Only the last sector of the disk may be short: it is filled up
    with zeros."""

    def __init__(self, pool: CodecPool, coding: Coding, size: int) -> None:
        self._pool = pool
        self._coding = coding
        self._sectors = sectors(coding)
        self._size = size
        self._open: Job | None = None
        self._stretches: list[Stretch] = []
        self._flight: list[tuple[Job, list[Stretch]]] = []

    def add(self, content: memoryview | None, length: int, start: int, target: int, offset: int) -> None:
        """The content (None: zeros) that stands at `start` on the disk is on its way to `offset` of the target.

        Raises ContractViolation where it is not whole sectors, and DeviceError for what was added before.
        """
        unit = self._sectors.unit
        short = length % unit and start + length != self._size
        if start % unit or short or (self._sectors.by_offset and offset % unit):
            raise ContractViolation(f"a copy of {length} bytes at {start} to {offset} is not whole sectors of {unit}")
        most = CHUNK // unit * unit
        for at in range(0, length, most):
            step = min(most, length - at)
            piece = EMPTY if content is None else content[at : at + step]
            self._piece(piece, -(-step // unit) * unit, start + at, target, offset + at)

    def _piece(self, content: memoryview, length: int, start: int, target: int, offset: int) -> None:
        number = self._sectors.number(offset if self._sectors.by_offset else start)
        while self._open is None or not self._open.add(content, length, length, number=number):
            self._submit()
            self._open = self._pool.job(ENCODE, self._coding, must=not self._flight)
            if self._open is None:
                self._collect()
        last = self._stretches[-1] if self._stretches else None
        if last and last.target == target and (offset, start) == (last.offset + last.length, last.start + last.length):
            self._stretches[-1] = last._replace(length=last.length + length)
        else:
            self._stretches.append(Stretch(self._open.count - 1, target, offset, length, start))

    def settle(self) -> None:
        """All that was added is in its target. Raises DeviceError."""
        self._submit()
        while self._flight:
            self._collect()

    def _submit(self) -> None:
        if self._open is not None:
            job, self._open = self._open, None
            stretches, self._stretches = self._stretches, []
            job.submit()
            self._flight.append((job, stretches))

    def _collect(self) -> None:
        job, stretches = self._flight[0]
        job.wait()
        if job.failure:
            raise ContractViolation(f"the cipher of the new image failed: {job.failure[1]}")
        for piece, target, offset, length, start in stretches:
            write_from(target, job.filled(piece, length), offset, place=start)
        del self._flight[0]
        job.release()

    def close(self) -> None:
        """Nothing is on its way any more, whatever became of it."""
        if self._open is not None:
            job, self._open = self._open, None
            job.release()
        for job, _ in self._flight:
            job.abandon()
        self._flight.clear()
