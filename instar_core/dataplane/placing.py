"""Executing copies: content that is held goes to its place in a target."""

from __future__ import annotations

from instar_core.dataplane.copy import copy
from instar_core.dataplane.edits import write_zeros, zero
from instar_core.dataplane.positional import write_from

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from instar_core.dataplane.held import Held
    from instar_core.dataplane.plans import Block
    from instar_core.types import Copy


class Placing:
    """Writes held content to targets; on `fresh` ones, which read as zeros, the zeros in it are not written."""

    def __init__(self, targets: Sequence[int], held: Held, *, fresh: bool) -> None:
        self._targets = targets
        self._held = held
        self._fresh = fresh

    def copy(self, edit: Copy, between: Callable[[], None]) -> None:
        """The edit is done. Raises DeviceError, and ContractViolation where its content is not held."""
        target = self._targets[edit.device]
        for distance, offer, inside, length in self._held.take(edit.start, edit.length):
            place = edit.offset + distance
            if offer.stored is not None:
                write_from(target, memoryview(offer.stored), place, place=offer.start)
            elif offer.block is None:
                if not offer.optional:
                    write_zeros(target, place, length, between=between)
                elif not self._fresh:
                    zero(target, place, length, between=between)
            elif offer.block.descriptor >= 0:
                copy(
                    offer.block.descriptor,
                    offer.block.offset + inside,
                    target,
                    place,
                    length,
                    advance=lambda _: between(),
                )
            else:
                self._buffered(offer.block, inside, target, place, length)

    def _buffered(self, block: Block, inside: int, target: int, place: int, length: int) -> None:
        buffer = block.memory
        first = block.at + inside - buffer.base
        if not self._fresh or block.ranges is None:
            write_from(target, buffer.view[first : first + length], place, place=block.start + inside)
            return
        at, end = block.at + inside, block.at + inside + length
        for start, size in block.ranges:
            begin, stop = max(start, at), min(start + size, end)
            if begin < stop:
                view = buffer.view[begin - buffer.base : stop - buffer.base]
                write_from(target, view, place + begin - at, place=block.start + begin - block.at)
