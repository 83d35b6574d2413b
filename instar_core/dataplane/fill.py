"""Filling a new image: pieces of a disk in, edits of its writer out, bytes moved from the ones to the others."""

from __future__ import annotations

from math import lcm

from instar_core import limits
from instar_core.dataplane.buffers import Buffers
from instar_core.dataplane.edits import checked, execute, flush
from instar_core.dataplane.encoding import Encoding
from instar_core.dataplane.held import Held, Offer
from instar_core.dataplane.loading import Loader
from instar_core.dataplane.pace import Pace
from instar_core.dataplane.placing import Placing
from instar_core.dataplane.positional import is_direct
from instar_core.dataplane.readahead import ahead
from instar_core.dataplane.refine import covering
from instar_core.dataplane.sparse import GRAIN, rounded
from instar_core.errors import Cancelled, ContractViolation
from instar_core.types import Copy, Kind, Run

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from typing import Any

    from instar_core.dataplane.coding import CodecPool
    from instar_core.dataplane.encoding import Unit
    from instar_core.dataplane.loading import Load
    from instar_core.dataplane.plans import Block
    from instar_core.piece import Piece
    from instar_core.types import Edit, Geometry

BLOCK = 1 << 20
"""Read and looked through at once: it stays in the processor's cache on its way."""

DEPTH = 4
"""Loads that are ready ahead of the writer, and that are offered to it at once."""

READY = 16 << 20
"""Bytes of them, unless one alone has more."""

ALONE = 16
"""Loads made before a thread is started to read ahead: small images do without."""

HELD = 64 << 20
"""Bytes that a writer may leave unplaced, beside two of its units."""


def fill(
    pieces: Iterator[Piece],
    geometry: Geometry,
    converse: Callable[[list[Run]], Iterable[Edit]],
    finish: Callable[[], Iterable[Edit]],
    targets: Sequence[int],
    *,
    sparse: int = GRAIN,
    pool: CodecPool | None = None,
    fresh: bool = True,
    copy_range: bool = False,
    threads: bool = True,
    progress: Callable[[int], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
    rate: int = 0,
    barrier: Callable[[Sequence[int]], None] = flush,
    salvage: Callable[[int, str], None] | None = None,
) -> None:
    """The targets hold the disk that the pieces describe, as the writer of their format wants it.

    `pieces` start at 0 and may end before geometry.size: the rest is zeros. `converse` hands runs to the writer and
    gives the edits it has for them; `finish` says that there are no more, and gives the last edits.

    A unit that is all zeros is left out, or offered as a ZERO run if geometry.zeros; with `sparse` 0 or geometry.full
    every unit is DATA. On `fresh` targets, which read as zeros, runs of zeros of at least `sparse` bytes are not
    written. `copy_range` leaves looking for zeros and has the kernel move plain content. Units are encoded where the
    geometry has a coding; `pool` is needed for that and for coded pieces.

    `progress` is told how far on the disk the work is, `cancelled` asked whether to stop (Cancelled), `rate` limits the
    bytes written per second, `barrier` makes the targets stable, `salvage` is told of sectors that cannot be read (see
    Loader). Raises FormatError, DeviceError, and ContractViolation where the writer does not place each byte once.
    """
    unit = geometry.unit
    if not 0 < unit <= limits.UNIT:
        raise ContractViolation(f"a writer wants units of {unit} bytes")
    coding = geometry.coding
    if coding is not None:
        if pool is None or not coding.whole or coding.unit % unit or coding.unit > limits.UNIT:
            raise ContractViolation(f"content cannot be encoded by {coding.name} in units of {coding.unit} bytes")
        unit, copy_range = coding.unit, False
    full = geometry.full or not sparse
    align = lcm(unit, GRAIN)
    if align > limits.UNIT:
        align = unit
    buffers = Buffers(-(-BLOCK // align) * align, aligned=any(map(is_direct, targets)))
    loader = Loader(
        buffers,
        pool,
        align=align,
        sparse=None if full else sparse,
        dense=full and coding is not None,
        in_place=copy_range,
        salvage=salvage,
    )
    held = Held(buffers)
    work = _Work(geometry, held, Placing(targets, held, fresh=fresh and not full), full=full, unit=unit)
    pace = Pace(rate)

    def between() -> None:
        if cancelled is not None and cancelled():
            raise Cancelled("stopped")

    def carry_out(edits: Iterable[Edit]) -> None:
        for edit in edits:
            edit = checked(edit, len(targets))  # noqa: PLW2901: the same edit, now believed
            if isinstance(edit, Copy):
                work.placing.copy(edit, between)
                pace.moved(edit.length)
            else:
                execute(edit, targets, barrier=barrier, between=between)
        between()

    loads = loader.loads(covering(pieces, 0, geometry.size), 0)
    stream: Any
    if coding is not None:
        assert pool is not None
        stream = Encoding(pool, coding, required=geometry.coding_required, full=full).encoded(loads)
    else:
        depth = max(1, min(DEPTH, READY // buffers.size))
        stream = ahead(loads, depth, after=ALONE if threads else 1 << 62, stay=lambda load: load.coded)
    try:
        for item in stream:
            runs: list[Run] = []
            end = 0
            for load, units in [item] if coding is not None else [(load, None) for load in item]:
                work.offer(load, units, runs)
                end = load.blocks[-1].start + load.blocks[-1].length
            if runs:
                carry_out(converse(runs))
            else:
                between()
            held.forget(end)
            if held.bytes > HELD + 2 * unit:
                raise ContractViolation(f"a writer leaves {held.bytes} bytes unplaced")
            if progress is not None:
                progress(end)
    finally:
        # Now, not when the traceback is let go: a thread may be reading, workers may be at it.
        stream.close()
    carry_out(finish())
    left = held.left()
    if left is not None:
        raise ContractViolation(f"a writer never placed the content at {left.start}")
    if progress is not None:
        progress(geometry.size)


class _Work:
    """Turns loads into runs, and keeps what they offer."""

    def __init__(self, geometry: Geometry, held: Held, placing: Placing, *, full: bool, unit: int) -> None:
        self.geometry = geometry
        self.held = held
        self.placing = placing
        self.full = full
        self.unit = unit

    def offer(self, load: Load, units: list[Unit] | None, runs: list[Run]) -> None:
        """The load's content is held, and offered by further runs. A buffer that offers nothing goes back."""
        buffer = load.buffer
        if buffer is not None:
            buffer.users += 1
        if units is not None:
            self._units(load, units, runs)
        else:
            for block in load.blocks:
                self._block(block, runs)
        if buffer is not None:
            self.held.let_go(buffer)

    def _block(self, block: Block, runs: list[Run]) -> None:
        if block.zero:
            self._zeros(block.start, block.length, runs)
            return
        if block.ranges is None:
            self._data(block, block.start, block.length, runs)
            return
        at = block.start
        wanted = rounded(block.ranges, block.at, self.geometry.unit, block.at + block.length)
        for place, length in wanted:
            start = block.start + place - block.at
            self._zeros(at, start - at, runs)
            self._data(block, start, length, runs)
            at = start + length
        self._zeros(at, block.start + block.length - at, runs)

    def _data(self, block: Block, start: int, length: int, runs: list[Run]) -> None:
        self.held.add(Offer(start, length, block.part(start, length)))
        _append(runs, start, length, Kind.DATA)

    def _zeros(self, start: int, length: int, runs: list[Run]) -> None:
        if not length or not (self.full or self.geometry.zeros):
            return
        self.held.add(Offer(start, length, None, optional=not self.full))
        _append(runs, start, length, Kind.DATA if self.full else Kind.ZERO)

    def _units(self, load: Load, units: list[Unit], runs: list[Run]) -> None:
        at = load.blocks[0].start
        for unit in units:
            self._zeros(at, unit.start - at, runs)
            at = unit.start + unit.length
            if unit.stored is None:
                self._data(unit.block, unit.start, unit.length, runs)
            else:
                self.held.add(Offer(unit.start, unit.length, None, unit.stored))
                runs.append(Run(unit.start, unit.length, Kind.DATA, len(unit.stored), 1))
        last = load.blocks[-1]
        self._zeros(at, last.start + last.length - at, runs)


def _append(runs: list[Run], start: int, length: int, kind: int) -> None:
    """The run is the last; it continues the one before where that is of the same kind and ends there."""
    last = runs[-1] if runs else None
    if last and not last.coding and last.kind == kind and last.start + last.length == start:
        runs[-1] = Run(last.start, last.length + length, kind)
    else:
        runs.append(Run(start, length, kind))
