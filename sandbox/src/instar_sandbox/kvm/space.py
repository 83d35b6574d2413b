"""Which addresses of a guest are taken: what mmap, munmap, mremap and brk come to where page tables never change."""

from __future__ import annotations

from instar_sandbox.kvm import layout

TYPE_CHECKING = False
if TYPE_CHECKING:
    from instar_sandbox.kvm.memory import GuestMemory


def up(value: int) -> int:
    """The value rounded up to whole pages."""
    return -(-value // layout.PAGE) * layout.PAGE


class Space:
    """Free ranges of the area for mappings, in order, and the heap. Free memory always reads as zeros."""

    def __init__(self, memory: GuestMemory) -> None:
        self._memory = memory
        self.free: list[tuple[int, int]] = [(layout.MAPPINGS, memory.size)]
        self.heap = (layout.PROGRAM, layout.PROGRAM)
        """Start of the heap and its present end."""

    def take(self, length: int) -> int | None:
        """The first place with so much room, now taken; None where there is none."""
        size = up(length)
        for index, (start, end) in enumerate(self.free):
            if end - start >= size:
                if end - start == size:
                    del self.free[index]
                else:
                    self.free[index] = (start + size, end)
                return start
        return None

    def take_at(self, start: int, length: int) -> bool:
        """These addresses are taken and zero, whatever was there; False where they lie outside."""
        end = start + up(length)
        if start % layout.PAGE or start < layout.MAPPINGS or end > self._memory.size:
            return False
        self._memory.zero(start, end - start)
        self._cut(start, end)
        return True

    def give(self, start: int, length: int) -> bool:
        """The addresses are free and zero again; False where they are not a mapping's."""
        end = start + up(length)
        if start % layout.PAGE or length <= 0 or start < layout.MAPPINGS or end > self._memory.size:
            return False
        self._cut(start, end)
        self._memory.zero(start, end - start)
        self._add(start, end)
        return True

    def grow(self, start: int, old: int, new: int) -> bool:
        """A mapping is longer where it stands, if what follows it is free."""
        first, last = start + up(old), start + up(new)
        for index, (low, high) in enumerate(self.free):
            if low == first and high >= last:
                self.free[index : index + 1] = [(last, high)] if high > last else []
                return True
        return False

    def set_heap(self, end: int) -> int:
        """The heap's end after it was asked to be there: there, or where it was."""
        start, old = self.heap
        if start <= end <= layout.HEAP_END:
            if end < old:
                self._memory.zero(end, old - end)
            self.heap = (start, end)
        return self.heap[1]

    def used(self) -> list[tuple[int, int]]:
        """Ranges of user memory that may hold something."""
        ranges = [(layout.PROGRAM, up(self.heap[1])), (layout.STACK_START, layout.STACK_END)]
        at = layout.MAPPINGS
        for start, end in self.free:
            if start > at:
                ranges.append((at, start))
            at = end
        if at < self._memory.size:
            ranges.append((at, self._memory.size))
        return ranges

    def _cut(self, start: int, end: int) -> None:
        kept = []
        for low, high in self.free:
            if high <= start or low >= end:
                kept.append((low, high))
                continue
            if low < start:
                kept.append((low, start))
            if high > end:
                kept.append((end, high))
        self.free = kept

    def _add(self, start: int, end: int) -> None:
        merged: list[tuple[int, int]] = []
        for low, high in sorted([*self.free, (start, end)]):
            if merged and merged[-1][1] == low:
                merged[-1] = (merged[-1][0], high)
            else:
                merged.append((low, high))
        self.free = merged
