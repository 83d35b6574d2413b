"""Filling a new image: pieces of a disk in, edits of its writer out, bytes moved from the ones to the others."""

from __future__ import annotations

from instar_core.dataplane.coding import CodecPool
from instar_core.dataplane.edits import checked, execute
from instar_core.dataplane.offering import Offering
from instar_core.dataplane.pace import Pace
from instar_core.dataplane.positional import is_direct, set_direct
from instar_core.dataplane.sparse import GRAIN
from instar_core.errors import Cancelled
from instar_core.types import Barrier, Copy, Put

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from instar_core.piece import Piece
    from instar_core.types import Edit, Geometry, Run


def fill(
    pieces: Iterator[Piece],
    geometry: Geometry,
    converse: Callable[[list[Run]], Iterable[Edit]],
    finish: Callable[[], Iterable[Edit]],
    targets: Sequence[int],
    *,
    sparse: int = GRAIN,
    pool: CodecPool | None = None,
    sandbox: str = "auto",
    fresh: bool = True,
    copy_range: bool = False,
    threads: bool = True,
    progress: Callable[[int], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
    rate: int = 0,
    durable: bool = True,
    direct: bool = False,
    salvage: Callable[[int, str], None] | None = None,
    guarded: bool = False,
    share: bool = False,
) -> None:
    """The targets hold the disk that the pieces describe, as the writer of their format wants it.

    `pieces` ascend; units that none is given for are not offered (unless geometry.full: then they are zeros).
    `converse` hands runs to the writer and gives the edits it has, for these or for those before; `finish` says that
    there are no more, and gives the last edits.

    A unit that is all zeros is left out, or offered as a ZERO run if geometry.zeros; with `sparse` 0 or geometry.full
    it is DATA like any other. On `fresh` targets, which read as zeros, runs of zeros of at least `sparse` bytes are not
    written. `copy_range` leaves looking for zeros and has the kernel move plain content. Units are encoded where the
    geometry has a coding, and coded pieces decoded, by `pool` or by workers of its own in this kind of sandbox. With
    `share` plain content becomes extents that source and target share, where the file system can do that: then it is
    not looked through for zeros either.

    Where the geometry has a cipher, with the key in its params, all that is copied is encrypted, zeros too. No worker
    sees the memory of this process then, nor where it is said to be `guarded`.

    `progress` is told how far on the disk the work is, `cancelled` asked whether to stop (Cancelled), `rate` limits the
    bytes written per second. Barriers put all on stable storage if it is to be `durable`. `direct` writes past the page
    cache where the file system can. `salvage` is told of sectors that cannot be read (see Loader).

    Raises FormatError, DeviceError, and ContractViolation where the writer does not place each byte once.
    """
    guarded = guarded or geometry.cipher is not None
    own = CodecPool(sandbox, guarded=guarded)
    ciphers = CodecPool(sandbox, guarded=guarded)
    changed = [target for target in targets if direct and not is_direct(target) and set_direct(target, True)]

    def between() -> None:
        if cancelled is not None and cancelled():
            raise Cancelled("stopped")

    work = Offering(geometry, targets, pool or own, sparse, fresh, copy_range, threads, salvage, ciphers, share)
    offers = work.offers(pieces)
    pace = Pace(rate)

    def carry_out(edits: Iterable[Edit]) -> None:
        for edit in edits:
            checked(edit, len(targets))
            if isinstance(edit, Copy):
                work.placing.copy(edit, between)
                pace.moved(edit.length)
                continue
            if isinstance(edit, Put):
                work.placing.put(edit)
                continue
            # Nothing overtakes anything: it may be for the same place.
            work.placing.settle()
            if durable or not isinstance(edit, Barrier):
                execute(edit, targets, between=between)
        between()

    answered = 0
    try:
        for runs, end in offers:
            if runs:
                carry_out(converse(runs))
            else:
                between()
            work.settled(answered)
            answered = end
            if progress is not None:
                progress(end)
        carry_out(finish())
        work.placing.settle()
        work.ended()
        if progress is not None:
            progress(geometry.size)
    finally:
        offers.close()
        work.close()
        ciphers.close()
        own.close()
        for target in changed:
            set_direct(target, False)
