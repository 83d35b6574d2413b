"""Executing copies: content that is held goes to its place in a target."""

from __future__ import annotations

from instar_core.dataplane.copy import copy
from instar_core.dataplane.edits import write_zeros, zero
from instar_core.dataplane.gathering import Gathering
from instar_core.dataplane.positional import write_from
from instar_core.dataplane.sharing import shared
from instar_core.errors import ContractViolation

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from instar_core.dataplane.allocating import Allocating
    from instar_core.dataplane.encrypting import Encrypting
    from instar_core.dataplane.held import Held
    from instar_core.dataplane.plans import Block
    from instar_core.dataplane.sharing import Sharing
    from instar_core.types import Copy, Put


STEP = 16 << 20
"""Zeros encrypted between two looks at whether to stop."""


class Placing:
    """Writes held content to targets; on `fresh` ones, which read as zeros, the zeros in it are not written.

    Large writes are announced to `allocating`. With `sharing` the targets share extents with the sources where they
    can. With a `cipher` all of it is encrypted, zeros too, and is in the targets after `settle`.
    """

    def __init__(
        self,
        targets: Sequence[int],
        held: Held,
        allocating: Allocating,
        *,
        fresh: bool,
        cipher: Encrypting | None = None,
        sharing: Sharing | None = None,
    ) -> None:
        self._targets = targets
        self._held = held
        self._fresh = fresh
        self._cipher = cipher
        self._allocating = allocating
        self._gathering = Gathering(allocating)
        self._sharing = sharing

    def settle(self) -> None:
        """Every copy is in its target. Raises DeviceError."""
        self._gathering.settle()
        if self._cipher is not None:
            self._cipher.settle()

    def put(self, edit: Put) -> None:
        """The edit is done, or will be before anything else is. Raises DeviceError."""
        if self._cipher is not None:
            self._cipher.settle()
        self._gathering.write(self._targets[edit.device], edit.data, edit.offset, edit.offset)

    def copy(self, edit: Copy, between: Callable[[], None]) -> None:
        """The edit is done. Raises DeviceError, and ContractViolation where its content is not held."""
        target = self._targets[edit.device]
        if self._cipher is not None:
            self._gathering.settle()
            self._encrypted(self._cipher, edit, target, between)
            return
        for distance, offer, inside, length in self._held.take(edit.start, edit.length):
            place = edit.offset + distance
            if offer.stored is not None:
                self._gathering.write(target, offer.stored, place, offer.start)
                continue
            self._gathering.settle()
            if offer.block is None:
                if not offer.optional:
                    write_zeros(target, place, length, between=between)
                elif not self._fresh:
                    zero(target, place, length, between=between)
            elif offer.block.buffer is None:
                source, offset = offer.block.descriptor, offer.block.offset + inside
                if self._sharing is not None:
                    shared(source, offset, target, place, length, between)
                else:
                    copy(source, offset, target, place, length, advance=lambda _: between())
            elif self._sharing is None or not self._sharing.tried(offer.block, inside, target, place, length):
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
            self._write(target, buffer.view[first : first + length], place, block.start + inside)
            return
        at, end = block.at + inside, block.at + inside + length
        for start, size in block.ranges:
            begin, stop = max(start, at), min(start + size, end)
            if begin < stop:
                view = buffer.view[begin - buffer.base : stop - buffer.base]
                self._write(target, view, place + begin - at, block.start + begin - block.at)

    def _write(self, target: int, view: memoryview, offset: int, place: int) -> None:
        self._allocating.before(target, offset, len(view))
        write_from(target, view, offset, place=place)
