"""Executing copies: content that is held goes to its place in a target."""

from __future__ import annotations

from instar_core.dataplane.copy import copy
from instar_core.dataplane.edits import write_zeros, zero
from instar_core.dataplane.positional import write_from
from instar_core.errors import ContractViolation

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from instar_core.dataplane.encrypting import Encrypting
    from instar_core.dataplane.held import Held
    from instar_core.dataplane.plans import Block
    from instar_core.types import Copy


STEP = 16 << 20
"""Zeros encrypted between two looks at whether to stop."""


class Placing:
    """Writes held content to targets; on `fresh` ones, which read as zeros, the zeros in it are not written.

    With a `cipher` all of it is encrypted, zeros too, and is in the targets after `settle`.
    """

    def __init__(self, targets: Sequence[int], held: Held, *, fresh: bool, cipher: Encrypting | None = None) -> None:
        self._targets = targets
        self._held = held
        self._fresh = fresh
        self._cipher = cipher

    def settle(self) -> None:
        """Every copy is in its target. Raises DeviceError."""
        if self._cipher is not None:
            self._cipher.settle()

    def copy(self, edit: Copy, between: Callable[[], None]) -> None:
        """The edit is done. Raises DeviceError, and ContractViolation where its content is not held."""
        target = self._targets[edit.device]
        if self._cipher is not None:
            self._encrypted(self._cipher, edit, target, between)
            return
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

    def _encrypted(self, cipher: Encrypting, edit: Copy, target: int, between: Callable[[], None]) -> None:
        for distance, offer, inside, length in self._held.take(edit.start, edit.length):
            start, place, block = edit.start + distance, edit.offset + distance, offer.block
            if block is not None and block.buffer is not None:
                first = block.at + inside - block.buffer.base
                cipher.add(block.buffer.view[first : first + length], length, start, target, place)
            elif block is not None or offer.stored is not None:
                raise ContractViolation(f"the content at {start} cannot be encrypted")
            else:
                for at in range(0, length, STEP):
                    cipher.add(None, min(STEP, length - at), start + at, target, place + at)
                    between()

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
