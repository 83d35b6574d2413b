"""What a guest must leave as it is: everything of the host's, looked at before and after."""

from __future__ import annotations

import fcntl
import mmap
import os
import random
import resource
import struct
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from instar_sandbox.jail.descriptors import FIRST, OUTPUT
from instar_sandbox.kvm import layout, store
from instar_sandbox.kvm.memory import GuestMemory
from instar_sandbox.kvm.output import Output
from instar_sandbox.kvm.sealed import SealedCalls
from instar_sandbox.kvm.space import Space

FIONREAD = 0x541B
CHANGING = range(layout.EXCEPTION_STACK, layout.EXCEPTION_STACK + layout.PAGE)
"""Of the control area, what the processor itself writes to."""


def resident() -> int:
    """Bytes of this process that are in RAM."""
    with open("/proc/self/statm", "rb", buffering=0) as file:
        return int(file.read().split()[1]) * resource.getpagesize()


def descriptors() -> list[str]:
    """What is open, but for the listing itself; a machine has no number, for a test may make it anew."""
    found = []
    for name in os.listdir("/proc/self/fd"):
        try:
            place = os.readlink(f"/proc/self/fd/{name}")
        except OSError:  # the one that listed the folder
            continue
        found.append(place if place.startswith("anon_inode:kvm") else f"{name} {place}")
    return sorted(found)


def control(memory: GuestMemory) -> int:
    """A sum over the control area."""
    view = memory.view
    return zlib.crc32(view[CHANGING.stop : layout.CONTROL_END], zlib.crc32(view[: CHANGING.start]))


MIB = 1 << 20
OWN = 48 * MIB
"""Bytes by which the host may grow beyond the guest's memory."""
FILES = 3
"""A guest's: two regular files, and memory that the host shares, which no call can write to. Behind them stand a file
and a pipe of the host's."""


@contextmanager
def surroundings(folder: Path, seed: int) -> Iterator[list[int]]:
    """Files for kvm_child.work(); afterwards, what is the host's is seen to be as it was."""
    chance = random.Random(seed)
    found = []
    for name, content in (("file", chance.randbytes(100_000)), ("other", chance.randbytes(10))):
        found.append(os.open(folder / name, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC))
        os.pwrite(found[-1], content, 0)
        os.lseek(found[-1], 5, os.SEEK_SET)
    window = store.memory_file("window")
    os.pwrite(window, b"\xc3" * 3 * MIB, 0)
    canary = os.open(folder / "canary", os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC)
    os.pwrite(canary, b"canary" * 1000, 0)
    reader, writer = os.pipe()
    os.write(writer, b"still here")
    found += [window, canary, reader, writer]
    try:
        yield found
        assert os.read(reader, 100) == b"still here"
        assert os.pread(canary, MIB, 0) == b"canary" * 1000
        assert os.pread(window, 4 * MIB, 0) == b"\xc3" * 3 * MIB
        assert [os.lseek(file, 0, os.SEEK_CUR) for file in found[:2]] == [5, 5]
    finally:
        for descriptor in found:
            os.close(descriptor)


class Arena:
    """In the child: the calls of one guest's, and all that they must leave alone."""

    def __init__(self, memory: GuestMemory) -> None:
        self.memory = memory
        self.space = Space(memory)
        self.space.heap = layout.PROGRAM + 0x10000, layout.PROGRAM + 0x20000
        self.reading, other, shared, canary, pipe = range(FIRST, FIRST + 5)
        self.window = mmap.mmap(shared, 3 * MIB)
        self.content = os.pread(self.reading, MIB, 0)
        self.output = Output(OUTPUT)
        self.calls = SealedCalls(memory, self.space, self.output, FILES)
        self.watch = Watch(memory, (self.reading, other, canary), (pipe,))
        with open("/proc/self/statm", "rb", buffering=0) as file:
            ceiling = int(file.read().split()[0]) * resource.getpagesize() + OWN
        resource.setrlimit(resource.RLIMIT_AS, (ceiling, resource.RLIM_INFINITY))
        self.most = 0

    def check(self, said: object) -> None:
        """Nothing of the host's has changed."""
        orderly(self.space, self.memory.size)
        self.watch.check(said)
        assert self.window[:] == b"\xc3" * 3 * MIB, said
        self.most = max(self.most, self.watch.grown())


class Watch:
    """Canaries: host memory beside the guest's, the control area, files with their positions, a pipe, descriptors."""

    def __init__(self, memory: GuestMemory, files: Sequence[int] = (), pipes: Sequence[int] = ()) -> None:
        self.memory = memory
        self.files = files
        self.pipes = pipes
        slack = memory._map
        self._behind = memory._offset + memory.size
        assert len(slack) - self._behind >= layout.PAGE
        slack[: memory._offset] = b"\xa5" * memory._offset
        slack[self._behind :] = b"\x5a" * (len(slack) - self._behind)
        self.resident = resident()
        self.before = self.look()

    def look(self) -> dict[str, object]:
        """All canaries, as they are."""
        slack = self.memory._map
        sums = [zlib.crc32(os.pread(file, 1 << 20, 0)) for file in self.files]
        return {
            "memory before the guest's": zlib.crc32(memoryview(slack)[: self.memory._offset]),
            "memory behind the guest's": zlib.crc32(memoryview(slack)[self._behind :]),
            "the control area": control(self.memory),
            "the content of files": sums,
            "positions in files": [os.lseek(file, 0, os.SEEK_CUR) for file in self.files],
            "sizes of files": [os.fstat(file).st_size for file in self.files],
            "bytes in a pipe": [struct.unpack("<i", fcntl.ioctl(pipe, FIONREAD, bytes(4)))[0] for pipe in self.pipes],
            "open descriptors": descriptors(),
        }

    def check(self, context: object = "") -> None:
        """Nothing has changed."""
        now = self.look()
        for name, value in self.before.items():
            assert now[name] == value, f"{name} changed: {value} is now {now[name]} ({context})"

    def grown(self) -> int:
        """Bytes in RAM more than at first."""
        return resident() - self.resident


def orderly(space: Space, size: int) -> None:
    """The bookkeeping makes sense: free ranges in order, apart, in whole pages, within bounds; a heap in its area."""
    end = layout.MAPPINGS - 1
    for low, high in space.free:
        assert end < low < high <= size, space.free
        assert low % layout.PAGE == high % layout.PAGE == 0, space.free
        end = high
    start, heap = space.heap
    assert layout.PROGRAM <= start <= heap <= layout.HEAP_END
