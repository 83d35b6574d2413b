"""A guest as its snapshot describes it, ready to go on: in pages shared with the file until written, or in a copy.

Where pages are shared, those large ones that a guest is known to write to in many places are copied all the same: each
of their small pages would be copied at its own fault.
"""

from __future__ import annotations

import os

from instar_sandbox.jail import libc
from instar_sandbox.kvm import layout
from instar_sandbox.kvm.machine import Machine
from instar_sandbox.kvm.memory import GuestMemory
from instar_sandbox.kvm.snapshot import Damaged
from instar_sandbox.kvm.space import Space

TYPE_CHECKING = False
if TYPE_CHECKING:
    import mmap
    from collections.abc import Iterator, Sequence

    from instar_sandbox.kvm.snapshot import Description

PROT_READ_WRITE = 3
MAP_PRIVATE_FIXED = 0x02 | 0x10


def restore(
    kvm: int, size: int, descriptor: int, description: Description, shared: mmap.mmap | None = None
) -> tuple[Machine, GuestMemory, Space]:
    """A machine with `size` bytes of memory, and beside that what the host shares with it.

    Raises Damaged, BackendError, MemoryError.
    """
    if size < description.top:
        raise MemoryError(f"a guest needs {description.top} bytes")
    memory = GuestMemory(size, shared)
    space = Space(memory)
    space.free = [(start, min(end, size)) for start, end in description.free[:-1]]
    space.free.append((description.free[-1][0], size))
    space.heap = description.heap
    if description.large:
        copy(memory, descriptor, description)
    else:
        share(memory, descriptor, description)
    machine = Machine(kvm, memory, description.features)
    machine.restore(description.registers, description.special, description.extended, description.stays_user)
    return machine, memory, space


def copy(memory: GuestMemory, descriptor: int, description: Description) -> None:
    """The pages are copied into memory of the guest's own, backed by large pages where the kernel has them."""
    memory.large(0, memory.size)
    for address, length, place in description.extents:
        fill(memory, descriptor, address, length, place)


def share(memory: GuestMemory, descriptor: int, description: Description) -> None:
    """The pages are the file's until the guest writes to them; the hot ones are copies."""
    memory.fixed = -(-description.top // layout.LARGE) * layout.LARGE
    heap = -(-description.heap[1] // layout.LARGE) * layout.LARGE
    for start, end in [(heap, layout.HEAP_END), (memory.fixed, memory.size), *description.hot]:
        memory.large(start, end)
    for address, length, place in description.extents:
        for start, end, own in parts(address, address + length, description.hot):
            source = place + start - address
            if own:
                fill(memory, descriptor, start, end - start, source)
            else:
                libc.call(
                    "mmap", memory.address + start, end - start, PROT_READ_WRITE, MAP_PRIVATE_FIXED, descriptor, source
                )


def parts(start: int, end: int, hot: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int, bool]]:
    """A range cut where hot ranges, which are in order, begin and end: (start, end, whether it is hot) of each part."""
    for first, last in hot:
        first, last = max(start, first), min(end, last)  # noqa: PLW2901  what it has of this range
        if first < last:
            if start < first:
                yield start, first, False
            yield first, last, True
            start = last
    if start < end:
        yield start, end, False


def fill(memory: GuestMemory, descriptor: int, address: int, length: int, place: int) -> None:
    """The guest's bytes are those at a place of the snapshot. Raises Damaged."""
    done = 0
    while done < length:
        got = os.preadv(descriptor, [memory.view[address + done : address + length]], place + done)
        if not got:
            raise Damaged("the snapshot is cut short")
        done += got
