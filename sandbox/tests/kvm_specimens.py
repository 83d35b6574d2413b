"""Memory, snapshots and programs for tests of the kvm platform: made here, without a machine."""

from __future__ import annotations

import os
import random
import struct

from instar_sandbox.kvm import abi, elf, layout, snapshot, store
from instar_sandbox.kvm.memory import GuestMemory
from instar_sandbox.kvm.snapshot import Description
from instar_sandbox.kvm.space import Space

SMALL = layout.LEAST_MEMORY


def described(memory: GuestMemory, space: Space, identity: tuple = (), files: dict | None = None) -> Description:
    """What a snapshot of this memory says, with registers that no processor had."""
    made = Description()
    made.registers, made.special, made.extended = bytes(abi.REGISTERS.size), b"special", bytes(abi.XSAVE_SIZE)
    made.stays_user, made.large, made.tested = False, False, True
    made.call = 0, (3, layout.MAPPINGS, 16, 0, 0, 0)
    made.free, made.heap = list(space.free), space.heap
    made.extents = [(address, length, 0) for address, length in snapshot.extents(memory, space)]
    made.identity, made.files = identity, files or {}
    made.features, made.hot = b"features", []
    return made


def filled(seed: int, size: int = SMALL) -> tuple[GuestMemory, Space]:
    """Memory with a heap, a stack and mappings that hold random bytes here and there, and zeros."""
    chance = random.Random(seed)
    memory = GuestMemory(size)
    space = Space(memory)
    space.heap = (layout.PROGRAM + 0x5000, layout.PROGRAM + 0x5000)
    space.set_heap(layout.PROGRAM + 0x23000)
    memory.put(layout.PROGRAM, chance.randbytes(0x21234))
    memory.put(layout.STACK_END - 5000, chance.randbytes(5000))
    for _ in range(40):
        length = chance.choice((1, layout.PAGE, 3 * layout.PAGE, 70000, 300000))
        place = space.take(length)
        assert place is not None
        if chance.random() < 0.7:
            at = chance.randrange(length)
            memory.put(place + at, chance.randbytes(min(length - at, 9000)))
        if chance.random() < 0.3:
            space.give(place, length)
    return memory, space


def kept(name: str, made: Description, memory: GuestMemory) -> store.Snapshot:
    """A snapshot in a file in memory."""
    descriptor = store.memory_file(name)
    snapshot.write(descriptor, made, memory)
    return store.Snapshot(name, descriptor, made)


def program(
    *,
    kind: int = elf.RELOCATABLE,
    machine: int = elf.X86_64,
    entry: int = 0x40,
    segments: tuple[tuple[int, ...], ...] = ((elf.LOAD, 5, 0, 0, 0, 0x200, 0x3000, 4096),),
    segment_size: int = elf.SEGMENT.size,
    count: int | None = None,
    table: int = elf.HEADER.size,
    identity: bytes = elf.IDENTITY,
    length: int = 0x1000,
) -> bytes:
    """An ELF file; its bytes behind the headers are 1, 2, ... 251, 1, 2, ..."""
    head = elf.HEADER.pack(
        identity.ljust(16, b"\0"), kind, machine, 1, entry, table, 0, 0, elf.HEADER.size, segment_size,
        len(segments) if count is None else count, 0, 0, 0,
    )  # fmt: skip
    head += b"".join(elf.SEGMENT.pack(*segment) for segment in segments)
    return head + (bytes(range(1, 252)) * (length // 251 + 1))[len(head) : length]


def file_with(path: object, content: bytes) -> int:
    """An open file with this content."""
    descriptor = os.open(str(path), os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    os.pwrite(descriptor, content, 0)
    return descriptor


def words(*values: int) -> bytes:
    """64-bit numbers, each taken modulo 2**64."""
    return struct.pack(f"<{len(values)}Q", *[value & (1 << 64) - 1 for value in values])
