"""What a writer is offered: the disk in its units, zeros left out, encoded where it wants that."""

from __future__ import annotations

from instar_core import limits
from instar_core.dataplane.allocating import Allocating
from instar_core.dataplane.buffers import Buffers
from instar_core.dataplane.encoding import Encoding
from instar_core.dataplane.encrypting import Encrypting
from instar_core.dataplane.held import Held, Offer
from instar_core.dataplane.loading import Loader
from instar_core.dataplane.placing import Placing
from instar_core.dataplane.plans import never
from instar_core.dataplane.readahead import ahead
from instar_core.dataplane.refine import covering
from instar_core.dataplane.sharing import Sharing
from instar_core.dataplane.sparse import rounded
from instar_core.errors import ContractViolation
from instar_core.types import Kind, Run

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence

    from instar_core.dataplane.coding import CodecPool
    from instar_core.dataplane.encoding import Unit
    from instar_core.dataplane.loading import Load
    from instar_core.dataplane.plans import Block
    from instar_core.piece import Piece
    from instar_core.types import Geometry

BLOCK = 2 << 20
"""Read and looked through at once: it stays in the processor's cache on its way."""

DEPTH = 4
"""Loads that are ready ahead of the writer, and that are offered to it at once."""

READY = 16 << 20
"""Bytes of them, unless one alone has more."""

HELD = 80 << 20
"""Bytes that may be unplaced beside two of a writer's units: a writer's 64 MiB, and what it was told last."""


class Offering:
    """Turns pieces into runs, and keeps what they offer until it is placed."""

    def __init__(
        self,
        geometry: Geometry,
        targets: Sequence[int],
        pool: CodecPool,
        sparse: int,
        fresh: bool,
        copy_range: bool,
        threads: bool,
        salvage: Callable[[int, str], None] | None,
        ciphers: CodecPool | None = None,
        share: bool = False,
    ) -> None:
        """`ciphers` are the workers for a geometry with a cipher; reading ahead may use `pool` in another thread."""
        self.geometry = geometry
        self.pool = pool
        self.full = geometry.full or not sparse
        self.threads = threads
        coding = geometry.coding
        self.unit = geometry.unit if coding is None else coding.unit
        if not 0 < self.unit <= limits.UNIT or self.unit % max(1, geometry.unit):
            raise ContractViolation(f"a writer wants units of {geometry.unit} and {self.unit} bytes")
        if coding is not None and not coding.whole:
            raise ContractViolation(f"content cannot be encoded by {coding.name}: it works by sectors")
        cipher = geometry.cipher
        if cipher is not None and (coding is not None or cipher.whole or geometry.unit % cipher.unit):
            raise ContractViolation(f"content in units of {geometry.unit} cannot be encrypted by {cipher.name}")
        self.cipher = None if cipher is None else Encrypting(ciphers or pool, cipher, geometry.size)
        self.buffers = Buffers(-(-BLOCK // self.unit) * self.unit)
        self.held = Held(self.buffers)
        plain = coding is None and cipher is None
        sharing = Sharing() if share and plain and salvage is None else None
        in_place = _always if copy_range and plain else never if sharing is None else sharing.usable
        left = fresh and not self.full
        allocating = Allocating(fresh=fresh)
        self.placing = Placing(targets, self.held, allocating, fresh=left, cipher=self.cipher, sharing=sharing)
        self.loader = Loader(
            self.buffers,
            pool,
            align=self.unit,
            sparse=None if self.full else sparse,
            dense=self.full and coding is not None,
            in_place=in_place,
            origins=never if sharing is None else sharing.untried,
            salvage=salvage,
        )

    def offers(self, pieces: Iterator[Piece]) -> Generator[tuple[list[Run], int], None, None]:
        """The runs of the disk in batches, each with the place on the disk that it reaches to."""
        loads = self.loader.loads(covering(pieces, 0, self.geometry.size, zeros=self.geometry.full), 0)
        stream: Generator[list[tuple[Load, list[Unit] | None]], None, None]
        coding = self.geometry.coding
        if coding is not None:
            encoding = Encoding(self.pool, coding, required=self.geometry.coding_required, full=self.full)
            stream = encoding.encoded(loads)
        else:
            depth = max(1, min(DEPTH, READY // self.buffers.size)) if self.threads else 0
            stream = plain(ahead(loads, depth))
        try:
            for batch in stream:
                runs: list[Run] = []
                for load, units in batch:
                    self._offer(load, units, runs)
                last = batch[-1][0].blocks[-1]
                yield runs, last.start + last.length
        finally:
            # Now, not when the traceback is let go: a thread may be reading, workers may be at it.
            stream.close()

    def settled(self, end: int) -> None:
        """The writer has answered to all runs up to `end`. Raises ContractViolation if too much is unplaced."""
        self.held.forget(end)
        if self.held.bytes > HELD + 2 * self.unit:
            raise ContractViolation(f"a writer leaves {self.held.bytes} bytes unplaced")

    def ended(self) -> None:
        """The writer has ended. Raises ContractViolation if content is left over."""
        left = self.held.left()
        if left is not None:
            raise ContractViolation(f"a writer never placed the content at {left.start}")

    def close(self) -> None:
        """Nothing that was placed is on its way any more."""
        if self.cipher is not None:
            self.cipher.close()

    def _offer(self, load: Load, units: list[Unit] | None, runs: list[Run]) -> None:
        """The load's content is held, and offered by further runs. A buffer that offers nothing goes back."""
        if load.buffer is not None:
            load.buffer.users += 1
        at = 0
        for block in load.blocks:
            if units is None or block.zero:
                self._block(block, runs)
                continue
            end = block.start + block.length
            first = at
            while at < len(units) and units[at].start < end:
                at += 1
            self._units(block, units[first:at], runs)
        if load.buffer is not None:
            self.held.let_go(load.buffer)

    def _block(self, block: Block, runs: list[Run]) -> None:
        if block.zero:
            self._zeros(block.start, block.length, runs)
            return
        if block.ranges is None:
            self._data(block, block.start, block.length, runs)
            return
        at = block.start
        for place, length in rounded(block.ranges, block.at, self.geometry.unit, block.at + block.length):
            start = block.start + place - block.at
            self._zeros(at, start - at, runs)
            self._data(block, start, length, runs)
            at = start + length
        self._zeros(at, block.start + block.length - at, runs)

    def _units(self, block: Block, units: list[Unit], runs: list[Run]) -> None:
        at = block.start
        for unit in units:
            self._zeros(at, unit.start - at, runs)
            at = unit.start + unit.length
            if unit.stored is None:
                self._data(block, unit.start, unit.length, runs)
            else:
                self.held.add(Offer(unit.start, unit.length, None, unit.stored))
                runs.append(Run(unit.start, unit.length, Kind.DATA, len(unit.stored), 1))
        self._zeros(at, block.start + block.length - at, runs)

    def _data(self, block: Block, start: int, length: int, runs: list[Run]) -> None:
        self.held.add(Offer(start, length, block.part(start, length)))
        append(runs, start, length, Kind.DATA)

    def _zeros(self, start: int, length: int, runs: list[Run]) -> None:
        if length and (self.full or self.geometry.zeros):
            self.held.add(Offer(start, length, None, optional=not self.full))
            append(runs, start, length, Kind.DATA if self.full else Kind.ZERO)


def _always(_: Piece) -> bool:
    return True


def plain(batches: Generator[list[Load], None, None]) -> Generator[list[tuple[Load, list[Unit] | None]], None, None]:
    """The same loads, none with units."""
    try:
        for batch in batches:
            yield [(load, None) for load in batch]
    finally:
        batches.close()


def append(runs: list[Run], start: int, length: int, kind: int) -> None:
    """The run is the last; it continues the one before where that is of the same kind and ends there."""
    last = runs[-1] if runs else None
    if last and not last.coding and last.kind == kind and last.start + last.length == start:
        runs[-1] = Run(last.start, last.length + length, kind)
    else:
        runs.append(Run(start, length, kind))
