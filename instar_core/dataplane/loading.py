"""Filling buffers with the disk's content, in order, coded pieces decoded ahead of need."""

from __future__ import annotations

from instar_core.dataplane.buffers import Buffer, Buffers
from instar_core.dataplane.decoding import Decoding
from instar_core.dataplane.plans import Block, Plan, never, plans
from instar_core.dataplane.positional import clear, read_into
from instar_core.dataplane.refine import refined
from instar_core.dataplane.sparse import data_ranges
from instar_core.errors import DeviceError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from instar_core.dataplane.coding import CodecPool
    from instar_core.dataplane.decoding import Part
    from instar_core.piece import Piece

AHEAD = 24
"""Plans whose coded pieces are announced before the first of them is filled: enough for 8 workers with 2 slots each."""

SECTOR = 512


class Load:
    """One buffer (None where nothing had to be read), the blocks in it and the zero blocks between them, ascending."""

    __slots__ = ("blocks", "buffer")

    def __init__(self, blocks: list[Block], buffer: Buffer | None) -> None:
        self.blocks = blocks
        self.buffer = buffer


class Loader:
    """Turns pieces into loads. `sparse` not None asks for the ranges of each block that are not zeros, `in_place` is
    asked whether a plain piece may stay in its file (see plans), `origins` whether a block is to tell its place there.

    With `salvage` what cannot be read counts as zeros, sector by sector, and it is told the place on the disk and why.
    """

    def __init__(
        self,
        buffers: Buffers,
        pool: CodecPool,
        *,
        align: int,
        sparse: int | None = None,
        dense: bool = False,
        in_place: Callable[[Piece], bool] = never,
        origins: Callable[[Piece], bool] = never,
        salvage: Callable[[int, str], None] | None = None,
    ) -> None:
        self._buffers = buffers
        self._pool = pool
        self._align = align
        self._sparse = sparse
        self._dense = dense
        self._in_place = in_place
        self._origins = origins
        self._salvage = salvage

    def loads(self, pieces: Iterator[Piece], origin: int) -> Generator[Load, None, None]:
        """The loads of pieces that cover the disk from `origin` on. Raises DeviceError and FormatError.

        The buffer of a load is the caller's, who gives it back to the stock.
        """
        stream = plans(
            refined(pieces),
            origin,
            align=self._align,
            size=self._buffers.size,
            dense=self._dense,
            in_place=self._in_place,
        )
        decoding = Decoding(self._pool)
        ahead: list[tuple[Plan, list[Part]]] = []
        more, coded = True, False
        try:
            while more or ahead:
                while more and len(ahead) < (AHEAD if coded else 1):
                    plan = next(stream, None)
                    if plan is None:
                        more = False
                        break
                    parts: list[Part] = []
                    for place, piece in plan.parts:
                        if piece.coding is not None:
                            parts += decoding.announce(place, piece)
                    ahead.append((plan, parts))
                    coded = coded or bool(parts)
                    if parts and decoding.feed():
                        break
                if ahead:
                    yield self._load(*ahead.pop(0), decoding)
        finally:
            decoding.close()

    def _load(self, plan: Plan, parts: list[Part], decoding: Decoding) -> Load:
        if not plan.used:
            return Load(plan.blocks, None)
        buffer = self._buffers.take()
        view = buffer.view
        for at, length in plan.pads:
            clear(view[at : at + length])
        self._read(plan, view)
        decoding.take_all(parts, view)
        blocks = []
        came = {place: piece for place, piece in plan.parts if piece.coding is None and self._origins(piece)}
        for block in plan.blocks:
            if block.at < 0:
                blocks.append(block)
                continue
            at = buffer.base + block.at
            ranges = None
            if self._sparse is not None:
                ranges = data_ranges(buffer.data, at, block.length, self._sparse, block.start)
            piece = came.get(block.at)
            held = block._replace(buffer=buffer, at=at, ranges=ranges)
            if piece is not None and piece.length >= block.length:
                held = held._replace(descriptor=piece.descriptor, offset=piece.offset)
            blocks.append(held)
        return Load(blocks, buffer)

    def _read(self, plan: Plan, view: memoryview) -> None:
        """The plain parts, neighbours in the buffer that are neighbours in the file read at once."""
        first = None
        at = end = 0
        for place, piece in plan.parts:
            if piece.coding is not None:
                continue
            if (
                first is not None
                and place == end
                and piece.descriptor == first.descriptor
                and piece.offset - first.offset == place - at
            ):
                end += piece.length
                continue
            if first is not None:
                self._fetch(first, view[at:end])
            first, at, end = piece, place, place + piece.length
        if first is not None:
            self._fetch(first, view[at:end])

    def _fetch(self, piece: Piece, view: memoryview) -> None:
        try:
            read_into(piece.descriptor, view, piece.offset, place=piece.start)
        except DeviceError:
            if self._salvage is None:
                raise
            for at in range(0, len(view), SECTOR):
                sector = view[at : at + SECTOR]
                try:
                    read_into(piece.descriptor, sector, piece.offset + at, place=piece.start + at)
                except DeviceError as error:
                    clear(sector)
                    self._salvage(piece.start + at, error.message)
