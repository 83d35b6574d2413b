"""Which addresses of a guest are taken: what mmap, munmap, mremap and brk come to where page tables never change."""

from __future__ import annotations

from bisect import bisect_left

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
        if last <= first:
            return True
        index = bisect_left(self.free, (first,))
        if index == len(self.free) or self.free[index][0] != first or self.free[index][1] < last:
            return False
        high = self.free[index][1]
        self.free[index : index + 1] = [(last, high)] if high > last else []
        return True

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
        """No range of these addresses is free. A guest may have made 100,000 ranges: they are not walked."""
        first, last = bisect_left(self.free, (start,)), bisect_left(self.free, (end,))
        if first and self.free[first - 1][1] > start:
            first -= 1
        if first == last:
            return
        low, high = self.free[first][0], self.free[last - 1][1]
        self.free[first:last] = [part for part in ((low, start), (end, high)) if part[0] < part[1]]

    def _add(self, start: int, end: int) -> None:
        """These addresses are free, none of which was."""
        first = last = bisect_left(self.free, (start,))
        if first and self.free[first - 1][1] == start:
            first -= 1
            start = self.free[first][0]
        if last < len(self.free) and self.free[last][0] == end:
            end = self.free[last][1]
            last += 1
        self.free[first:last] = [(start, end)]
