"""Reading a disk that is described by pieces: anywhere, or from one end to the other."""

from __future__ import annotations

from instar_core.dataplane.buffers import Buffers
from instar_core.dataplane.coding import CodecPool
from instar_core.dataplane.decoding import Decoding
from instar_core.dataplane.loading import Loader
from instar_core.dataplane.positional import read_into
from instar_core.dataplane.readahead import ahead
from instar_core.dataplane.refine import covering
from instar_core.dataplane.sparse import GRAIN

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from instar_core.dataplane.plans import Block
    from instar_core.piece import Piece

CACHE = 4 << 20
"""Bytes of decoded units that are kept for the next read."""

Key = tuple[int, int, int, int]


class Content:
    """A disk whose pieces `source(start, length)` tells. What no piece is given for reads as zeros.

    Coded pieces are decoded by `pool`, or by a pool of its own in this kind of sandbox, closed with it; see CodecPool
    for `guarded`.
    """

    def __init__(
        self,
        source: Callable[[int, int], Iterator[Piece]],
        pool: CodecPool | None = None,
        *,
        sandbox: str = "auto",
        guarded: bool = False,
    ) -> None:
        self._source = source
        self._own = CodecPool(sandbox, workers=1, guarded=guarded)
        self._pool = pool or self._own
        self._units: dict[Key, bytes] = {}
        self._bytes = 0

    def close(self) -> None:
        """No worker of its own is left."""
        self._own.close()

    def read(self, start: int, length: int) -> bytes:
        """The `length` bytes at `start`. Raises FormatError and DeviceError."""
        made = bytearray(length)
        view = memoryview(made)
        for piece in covering(self._source(start, length), start, start + length):
            room = view[piece.start - start : piece.start - start + piece.length]
            if piece.zero:
                continue
            if piece.coding is None:
                read_into(piece.descriptor, room, piece.offset, limit=piece.limit, place=piece.start)
                continue
            key = piece.descriptor, piece.offset, piece.stored, id(piece.coding)
            unit = self._units.get(key) if piece.coding.whole else None
            if unit is not None and piece.skip + piece.length <= len(unit):
                room[:] = memoryview(unit)[piece.skip : piece.skip + piece.length]
            else:
                self._decode(piece, room, key)
        return bytes(made)

    def _decode(self, piece: Piece, room: memoryview, key: Key) -> None:
        decoding = Decoding(self._pool)
        try:
            for part in decoding.announce(0, piece):
                unit = decoding.take(part, room)
                if piece.coding is not None and piece.coding.whole and len(unit) <= CACHE:
                    self._keep(key, bytes(unit))
                decoding.done(part)
        finally:
            decoding.close()

    def _keep(self, key: Key, unit: bytes) -> None:
        while self._units and self._bytes + len(unit) > CACHE:
            self._bytes -= len(self._units.pop(next(iter(self._units))))
        self._units[key] = unit
        self._bytes += len(unit)

    def blocks(self, size: int, start: int, end: int) -> Generator[Block, None, None]:
        """The stretch as blocks: see there."""
        return blocks(self._source(start, end - start), self._pool, size, start, end)


def blocks(
    pieces: Iterator[Piece], pool: CodecPool, size: int, start: int, end: int, *, depth: int = 0
) -> Generator[Block, None, None]:
    """The disk from `start` to `end` as blocks: known zeros of any length, or at most `size` bytes in a buffer.

    A block's buffer holds its content until the next block is asked for. `size` is rounded up to GRAIN. With a `depth`
    so many buffers are read ahead, in a thread that has the pool for itself; small disks do without it.
    """
    buffers = Buffers(-(-size // GRAIN) * GRAIN)
    loads = Loader(buffers, pool, align=GRAIN).loads(covering(pieces, start, end), start)
    batches = ahead(loads, depth)
    try:
        for batch in batches:
            for load in batch:
                yield from load.blocks
                if load.buffer is not None:
                    buffers.give(load.buffer)
    finally:
        batches.close()
