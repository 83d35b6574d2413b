"""A guest as its snapshot describes it, ready to go on: in pages shared with the file until written, or in a copy."""

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
    from instar_sandbox.kvm.snapshot import Description

PROT_READ_WRITE = 3
MAP_PRIVATE_FIXED = 0x02 | 0x10


def restore(kvm: int, size: int, descriptor: int, description: Description) -> tuple[Machine, GuestMemory, Space]:
    """A machine with `size` bytes of memory. Raises Damaged, BackendError, MemoryError."""
    if size < description.top:
        raise MemoryError(f"a guest needs {description.top} bytes")
    memory = GuestMemory(size)
    space = Space(memory)
    space.free = [(start, min(end, size)) for start, end in description.free[:-1]]
    space.free.append((description.free[-1][0], size))
    space.heap = description.heap
    if description.large:
        copy(memory, descriptor, description)
    else:
        share(memory, descriptor, description)
    machine = Machine(kvm, memory)
    machine.restore(description.registers, description.special, description.extended, description.stays_user)
    return machine, memory, space


def copy(memory: GuestMemory, descriptor: int, description: Description) -> None:
    """The pages are copied into memory of the guest's own, backed by large pages where the kernel has them."""
    memory.large(0, memory.size)
    for address, length, place in description.extents:
        done = 0
        while done < length:
            got = os.preadv(descriptor, [memory.view[address + done : address + length]], place + done)
            if not got:
                raise Damaged("the snapshot is cut short")
            done += got


def share(memory: GuestMemory, descriptor: int, description: Description) -> None:
    """The pages are the file's until the guest writes to them."""
    for address, length, place in description.extents:
        libc.call("mmap", memory.address + address, length, PROT_READ_WRITE, MAP_PRIVATE_FIXED, descriptor, place)
    memory.fixed = -(-description.top // layout.LARGE) * layout.LARGE
    memory.large(memory.fixed, memory.size)
