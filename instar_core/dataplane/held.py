"""Content that was offered to a writer and has not been placed yet."""

from __future__ import annotations

from bisect import bisect_right

from instar_core.errors import ContractViolation

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from instar_core.dataplane.buffers import Buffer, Buffers
    from instar_core.dataplane.plans import Block


class Offer:
    """`length` bytes at `start` of the disk: a block's, or zeros (no block), or already encoded ones (stored)."""

    __slots__ = ("block", "length", "optional", "start", "stored")

    def __init__(
        self, start: int, length: int, block: Block | None, stored: bytes | None = None, *, optional: bool = False
    ) -> None:
        self.start = start
        self.length = length
        self.block = block
        self.stored = stored
        self.optional = optional

    def part(self, at: int, length: int) -> Offer:
        """What is left of the offer from a distance on."""
        start = self.start + at
        return Offer(start, length, self.block and self.block.part(start, length), optional=self.optional)


class Held:
    """Offers in the order of the disk. Each byte is taken once; a buffer goes back when nothing in it is held."""

    def __init__(self, buffers: Buffers) -> None:
        self._buffers = buffers
        self._starts: list[int] = []
        self._offers: list[Offer] = []
        self.bytes = 0
        """Of offers that must be taken and keep memory busy."""

    def add(self, offer: Offer) -> None:
        """The offer, which lies after all others, is held."""
        self._starts.append(offer.start)
        self._offers.append(offer)
        self._count(offer, 1)

    def _count(self, offer: Offer, sign: int) -> None:
        block = offer.block
        if offer.stored is not None:
            self.bytes += sign * len(offer.stored)
        elif block is not None and block.buffer is not None:
            self.bytes += sign * offer.length
            if sign > 0:
                block.buffer.users += 1
            else:
                self.let_go(block.buffer)

    def let_go(self, buffer: Buffer) -> None:
        """One user less needs the buffer; after the last it goes back."""
        buffer.users -= 1
        if not buffer.users:
            self._buffers.give(buffer)

    def forget(self, before: int) -> None:
        """Zeros that need not be placed and lie before this place are not held any more."""
        while self._offers and self._offers[0].optional and self._offers[0].start + self._offers[0].length <= before:
            del self._offers[0], self._starts[0]

    def take(self, start: int, length: int) -> Iterator[tuple[int, Offer, int, int]]:
        """The parts of a copy: (distance from its start, the offer, distance into the offer, length).

        Each part is given up when the next is asked for. Of an encoded offer `length` is that of the stored bytes.
        Raises ContractViolation where bytes were never offered, or are taken a second time.
        """
        done = 0
        while done < length:
            at = start + done
            index = bisect_right(self._starts, at) - 1
            offer = self._offers[index] if index >= 0 else None
            if offer is None or at >= offer.start + offer.length:
                raise ContractViolation(f"a copy wants {length} bytes at {start}, but {at} is not on offer (any more)")
            inside = at - offer.start
            if offer.stored is not None:
                if inside or done or length != len(offer.stored):
                    raise ContractViolation(f"a copy wants {length} bytes of the encoded piece at {offer.start}")
                yield 0, offer, 0, length
                self._remove(index, offer, 0, offer.length)
                return
            step = min(length - done, offer.length - inside)
            yield done, offer, inside, step
            self._remove(index, offer, inside, step)
            done += step

    def _remove(self, index: int, offer: Offer, inside: int, length: int) -> None:
        after = inside + length
        rest = [offer.part(at, size) for at, size in ((0, inside), (after, offer.length - after)) if size]
        for part in rest:
            self._count(part, 1)
        self._starts[index : index + 1] = [part.start for part in rest]
        self._offers[index : index + 1] = rest
        self._count(offer, -1)

    def left(self) -> Offer | None:
        """The first offer that must be taken and was not."""
        return next((offer for offer in self._offers if not offer.optional), None)
