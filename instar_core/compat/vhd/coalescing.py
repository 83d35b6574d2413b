"""What a child holds goes into its parent, and a whole chain into its base. Sizes are bytes."""

from __future__ import annotations

from itertools import pairwise

from instar_core import chain as chains
from instar_core import device as devices
from instar_core import stretches
from instar_core.changing import Changing
from instar_core.compat.vhd.chains import FORMAT, look, virtual_size
from instar_core.errors import ContractViolation, ErrorKind, FormatError, UsageError
from instar_core.operations.commit import SPARSE, grow, settle
from instar_core.operations.resize import resize
from instar_core.results import Progress
from instar_core.settings import DEFAULTS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from instar_core.chain import Member
    from instar_core.device import Device
    from instar_core.piece import Piece
    from instar_core.settings import Settings
    from instar_core.types import Reference

SECTOR = 512


def coalesce(
    path: str,
    *,
    settings: Settings = DEFAULTS,
    progress: Callable[[Progress], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> None:
    """The parent that the differencing VHD at `path` names, if policy allows it, reads as that VHD does.

    It grows if it is smaller. The VHD itself is not changed, and what the parent names in turn is not opened unless the
    parent has to grow over it. A stop at any point loses nothing: whoever reads by the VHD reads the same. Raises
    FormatError (UNSUPPORTED) for a disk without a parent, (CORRUPT) where the parent is not the one that it was made
    for.
    """
    with _opened(path, settings) as child:
        reference = _reference(child)
        device = chains.open_reference(reference, child.path, child.home, settings)
        try:
            target = chains.resolve(reference.name, child.path)
            _merge(child, target, device, settings, progress, cancelled)
        finally:
            device.close()


def coalesce_chain(
    chain: Sequence[str],
    *,
    settings: Settings = DEFAULTS,
    progress: Callable[[Progress], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> str:
    """The last file of the chain, which is given top first, reads as the first one does; its path.

    It has the size of the first one's disk. The other files are not changed. None but the files of the chain is opened,
    whatever they name, but for what the last one stands on if it is a differencing disk that has to grow. A stop at any
    point loses nothing: whoever reads by the first one reads the same. Raises FormatError as coalesce does, UsageError
    for an empty chain.
    """
    if not chain:
        raise UsageError("the chain has no image")
    base = chain[-1]
    for path, below in reversed(list(pairwise(chain))):
        # What the lower ones hold is in the base already, and so is where their disks end.
        size = virtual_size(path, settings=settings)
        if virtual_size(base, settings=settings) > size:
            resize(base, size, shrink=True, format=FORMAT, settings=settings, cancelled=cancelled)
        with _opened(path, settings) as child:
            _merge(child, base, None, settings, progress, cancelled, below if below != base else None)
    return base


def _opened(path: str, settings: Settings) -> Member:
    """The differencing disk at `path`, alone, ready to be read; the caller's to close."""
    child = chains.open_member(path, settings, "map", format=FORMAT)
    try:
        _reference(child)
    except BaseException:
        child.close()
        raise
    return child


def _reference(child: Member) -> Reference:
    """What the child says of its parent. Raises FormatError (UNSUPPORTED) where it has none."""
    if child.info.blocked:
        raise FormatError(child.info.blocked, kind=ErrorKind.UNSUPPORTED, path=child.path)
    reference = child.reference()
    if reference is None:
        text = "coalescing of non-differencing disks is not supported"
        raise FormatError(text, kind=ErrorKind.UNSUPPORTED, path=child.path)
    return reference


def _merge(
    child: Member,
    target: str,
    device: Device | None,
    settings: Settings,
    progress: Callable[[Progress], None] | None,
    cancelled: Callable[[], bool] | None,
    below: str | None = None,
) -> None:
    """What the child itself holds is in the image at `target`, whose file may be open already. The image that the child
    was made for is that one, or the one at `below`."""
    own = child.devices[0].identity
    if own == (device.identity if device is not None else devices.identity(target)):
        raise FormatError(f"Backing file '{target}' creates an infinite loop.", path=child.path)
    size = child.info.virtual_size

    def pieces(unit: int) -> Iterator[Piece]:
        if unit > SECTOR:
            raise ContractViolation(f"{FORMAT} is written in units of {unit} bytes")
        # Sectors are told apart on both sides, so that nothing from below is needed.
        return (piece for piece in stretches.pieces(child) if not piece.depth)

    def step(done: int) -> None:
        if progress is not None:
            progress(Progress("coalesce", min(done, size), size))

    with Changing(target, settings, format=FORMAT, device=device) as base:
        _confirm(child, base, target, below, settings)
        grow(base, size, settings, cancelled)
        step(0)
        base.update(pieces, sparse=SPARSE, progress=step, cancelled=cancelled, keep=True, copy_range=True)
        settle(base)
    step(size)


def _confirm(child: Member, base: Changing, target: str, below: str | None, settings: Settings) -> None:
    """Raises FormatError (CORRUPT) where the child was made for another parent."""
    reference = _reference(child)
    if below is None:
        chains.confirm_identity(reference, base.member, target)
        return
    with look(below, settings) as found:
        chains.confirm_identity(reference, found, below)
