"""Reading a disk that is described by pieces: anywhere, or from one end to the other."""

from __future__ import annotations

from instar_core.dataplane.buffers import Buffers
from instar_core.dataplane.coding import DECODE
from instar_core.dataplane.decoding import Decoding
from instar_core.dataplane.loading import Loader
from instar_core.dataplane.plans import Block, cut
from instar_core.dataplane.positional import read_into
from instar_core.dataplane.refine import covering
from instar_core.dataplane.sparse import GRAIN
from instar_core.errors import ErrorKind, FormatError
from instar_core.types import Span

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from instar_core.dataplane.coding import CodecPool
    from instar_core.piece import Piece

CACHE = 4 << 20
"""Bytes of decoded units that are kept for the next read."""


class Content:
    """A disk whose pieces `source(span)` tells; `pool` decodes the coded ones."""

    def __init__(self, source: Callable[[Span], Iterator[Piece]], pool: CodecPool | None = None) -> None:
        self._source = source
        self._pool = pool
        self._units: dict[tuple[int, int, int, int], bytes] = {}

    def read(self, start: int, length: int) -> bytes:
        """The `length` bytes at `start`. Raises FormatError and DeviceError."""
        made = bytearray(length)
        view = memoryview(made)
        for piece in covering(self._source(Span(start, length)), start, start + length):
            if piece.zero:
                continue
            room = view[piece.start - start : piece.start - start + piece.length]
            if piece.coding is None:
                read_into(piece.descriptor, room, piece.offset, limit=piece.limit, place=piece.start)
            elif piece.coding.whole:
                self._unit(piece, room)
            else:
                decoding = Decoding(self._pool)
                try:
                    for part in decoding.announce(0, piece):
                        decoding.take(part, room)
                finally:
                    decoding.close()
        return bytes(made)

    def _unit(self, piece: Piece, room: memoryview) -> None:
        key = piece.descriptor, piece.offset, piece.stored, id(piece.coding)
        unit = self._units.get(key)
        if unit is None:
            unit = self._decoded(piece)
            while self._units and sum(map(len, self._units.values())) + len(unit) > CACHE:
                del self._units[next(iter(self._units))]
            self._units[key] = unit
        if piece.skip + piece.length > len(unit):
            raise FormatError(
                f"error while reading at byte {piece.start}: compressed data is too short",
                kind=ErrorKind.CORRUPT,
                offset=piece.offset,
            )
        room[:] = memoryview(unit)[piece.skip : piece.skip + piece.length]

    def _decoded(self, piece: Piece) -> bytes:
        coding = piece.coding
        assert coding is not None
        if self._pool is None:
            raise FormatError(f"no way to decode '{coding.name}'", kind=ErrorKind.UNSUPPORTED)
        job = self._pool.job(DECODE, coding, must=True)
        assert job is not None
        try:
            if not job.read(piece.descriptor, piece.offset, piece.stored, coding.unit, limit=piece.limit):
                raise FormatError("a stored piece is longer than any unit", kind=ErrorKind.LIMIT, offset=piece.offset)
            job.submit()
            job.wait()
            if job.failure:
                raise FormatError(
                    f"error while reading at byte {piece.start}: {job.failure[1]}",
                    kind=ErrorKind.CORRUPT,
                    offset=piece.offset,
                )
            return bytes(job.result(0))
        finally:
            job.release()

    def blocks(self, size: int, start: int, end: int) -> Iterator[Block]:
        """The stretch from `start` to `end` as blocks: known zeros of any length, or at most `size` bytes in a buffer.

        A block's buffer holds its content until the next one is asked for. `size` is rounded up to GRAIN.
        """
        buffers = Buffers(-(-size // GRAIN) * GRAIN)
        loads = Loader(buffers, self._pool, align=GRAIN).loads(
            covering(self._source(Span(start, end - start)), start, end), start
        )
        try:
            for load in loads:
                yield from load.blocks
                if load.buffer is not None:
                    buffers.give(load.buffer)
        finally:
            loads.close()


__all__ = ["Block", "Content", "cut"]
