"""What a hostile guest could have in its registers, and in the memory that they point to."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable
from functools import partial

from instar_sandbox.jail.descriptors import FIRST, INPUT, OUTPUT
from instar_sandbox.kvm import layout, numbers
from instar_sandbox.kvm.memory import GuestMemory
from instar_sandbox.kvm.space import Space

PAGE = layout.PAGE
WORD = (1 << 64) - 1
ALLOWED = (
    "read", "write", "readv", "writev", "pread64", "preadv", "preadv2", "mmap", "munmap", "mremap", "mprotect",
    "madvise", "brk", "futex", "clock_gettime", "gettimeofday", "time", "getrandom", "rt_sigprocmask",
    "sigaltstack", "sched_yield", "getpid", "gettid", "tgkill", "exit", "exit_group",
)  # fmt: skip
NEAR = (-PAGE - 1, -PAGE, -17, -16, -8, -7, -1, 0, 0, 0, 0, 1, 2, 7, 8, 15, 16, 100, PAGE - 1, PAGE, PAGE + 1)
POWERS = tuple(1 << power for power in (0, 3, 12, 16, 20, 21, 26, 30, 31, 32, 33, 40, 46, 47, 48, 61, 62, 63))


class Hostile:
    """Calls of a guest that is out to harm its host. All of them follow from the seed."""

    def __init__(self, seed: int, memory: GuestMemory, space: Space, files: int) -> None:
        self.chance = random.Random(seed)
        self.memory = memory
        self.space = space
        self.files = files
        self.mapped: list[int] = []
        size = memory.size
        self.marks = (
            0, layout.PML4, layout.TASK, layout.STUB, layout.CONTROL_END, layout.PROGRAM, layout.HEAP_END,
            layout.STACK_START, layout.STACK_END, size, size, size, size - (1 << 20), layout.SHARED, layout.HIGH,
            1 << 47, 1 << 63, 1 << 64,
        )  # fmt: skip
        self.makers: dict[str, Callable[[], tuple[int, ...]]] = {
            **{name: partial(self._plain, name) for name in ("read", "write", "pread64")},
            **{name: partial(self._pieces, name) for name in ("readv", "writev", "preadv", "preadv2")},
            "mmap": self._mmap, "munmap": self._range, "mremap": self._mremap, "madvise": self._madvise,
        }  # fmt: skip

    def call(self) -> tuple[int, tuple[int, ...]]:
        """A number and six arguments, each of 64 bits; what they point to is in memory."""
        chance = self.chance
        kind = chance.random()
        if kind < 0.04:
            number = chance.choice((chance.getrandbits(64), chance.choice(POWERS) - 1, -chance.randrange(500)))
            return number & WORD, self._any()
        if kind < 0.1:
            return chance.choice((chance.randrange(500), chance.choice(tuple(numbers.NAMES)))), self._any()
        name = chance.choice(ALLOWED)
        maker = self.makers.get(name)
        if maker is None or chance.random() < 0.15:
            return numbers.NUMBERS[name], self._any()
        words = [word & WORD for word in maker()]
        words += [self.value() & WORD for _ in range(6 - len(words))]
        if chance.random() < 0.1:
            words[chance.randrange(6)] = self.value() & WORD
        return numbers.NUMBERS[name], tuple(words)

    def answered(self, number: int, result: int) -> None:
        """What the host gave is used further on."""
        if number in (numbers.NUMBERS["mmap"], numbers.NUMBERS["mremap"]) and result > 0:
            self.mapped.append(result)
            if len(self.mapped) > 200:
                del self.mapped[self.chance.randrange(200)]

    def value(self) -> int:
        """Any number, most often one at an edge."""
        chance = self.chance
        kind = chance.randrange(8)
        if kind == 0:
            return chance.getrandbits(chance.choice((3, 8, 16, 32, 64)))
        if kind == 1:
            return chance.choice(POWERS) + chance.choice(NEAR)
        if kind == 2:
            return -chance.choice((0, 1, 2, 4, 100, PAGE, 1 << 31, 1 << 32, chance.getrandbits(63)))
        if kind == 3:
            return chance.choice(self.marks) + chance.choice(NEAR)
        return self.pointer() if kind < 6 else self.length()

    def pointer(self) -> int:
        """An address, most often of the guest's own."""
        chance = self.chance
        kind = chance.random()
        if kind < 0.25:
            return chance.choice(self.marks) + chance.choice(NEAR)
        if kind < 0.45 and self.mapped:
            return chance.choice(self.mapped) + chance.choice(NEAR)
        if kind < 0.55 and self.space.free:
            return chance.choice(chance.choice(self.space.free)) + chance.choice(NEAR)
        at = chance.randrange(layout.PROGRAM, self.memory.size)
        return at if kind < 0.8 else at // PAGE * PAGE

    def length(self) -> int:
        """Bytes, most often few enough to be done."""
        chance = self.chance
        kind = chance.random()
        if kind < 0.1:
            return self.memory.size - chance.choice(self.marks) + chance.choice(NEAR)
        if kind < 0.2:
            return chance.choice(POWERS) + chance.choice(NEAR)
        if kind < 0.23:
            return chance.randrange(1 << 26)
        return chance.choice(
            (0, 1, 2, 8, 16, 100, PAGE, PAGE + 1, chance.randrange(1 << 16), chance.randrange(1 << 13))
        )

    def file(self, name: str) -> int:
        """A descriptor, most often one that the call may be made on, or what passes for it in 32 bits."""
        chance = self.chance
        if chance.random() < 0.7:
            if name.startswith("p"):
                return FIRST + chance.randrange(self.files)
            return INPUT if name.startswith("read") else OUTPUT
        known = (INPUT, OUTPUT, 0, 1, 2, *range(FIRST, FIRST + self.files), FIRST + self.files, -1)
        return chance.choice(known) | chance.choice((0, 0, 0, 0, chance.getrandbits(32) << 32))

    def offset(self) -> int:
        """A place in a file."""
        chance = self.chance
        return self.value() if chance.random() < 0.3 else chance.randrange(1 << 17)

    def _any(self) -> tuple[int, ...]:
        return tuple([self.value() & WORD for _ in range(6)])

    def _plain(self, name: str) -> tuple[int, ...]:
        return self.file(name), self.pointer(), self.length(), self.offset()

    def _range(self) -> tuple[int, ...]:
        return self.pointer() // PAGE * PAGE + self.chance.choice((0, 0, 0, 0, 1)), self.length()

    def _mmap(self) -> tuple[int, ...]:
        flags = self.chance.choice((0x22, 0x22, 0x22, 0x22, 0x20, 0x32, 0x100022, self.value()))
        return self.pointer(), self.length(), 3, flags, -1, 0

    def _mremap(self) -> tuple[int, ...]:
        flags = self.chance.choice((0, 1, 1, 1, 2, 3, self.value()))
        return self._range()[0], self.length(), self.length(), flags, self.pointer()

    def _madvise(self) -> tuple[int, ...]:
        return *self._range(), self.chance.choice((4, 4, 4, 8, self.value()))

    def _pieces(self, name: str) -> tuple[int, ...]:
        """An array of struct iovec: somewhere, of any length, with whatever in it; it may name itself."""
        chance = self.chance
        count = chance.choice((0, 1, 1, 2, 3, 8, 100, 1023, 1024, 1025, 1 << 60))
        at = self.pointer() // 8 * 8
        room = min(count, 1024)
        words = []
        for _ in range(room):
            kind = chance.random()
            if kind < 0.05 / room:
                words += self.value(), self.value()
            elif kind < 0.1 / room:
                words += at + 16 * chance.randrange(room), 64
            elif kind < 0.2:
                words += self.value(), 0
            else:
                words += chance.randrange(layout.STACK_START, self.memory.size - 300), chance.randrange(300)
        if room and chance.random() < 0.1:  # together more than 63 bits
            for index in range(min(room, chance.choice((2, 3, 4)))):
                words[2 * index + 1] = chance.choice(((1 << 63) - 1, 1 << 63, 1 << 62, self.memory.size))
        content = struct.pack(f"<{len(words)}Q", *[word & WORD for word in words])
        low, high = max(layout.PROGRAM, at), min(self.memory.size, at + len(content))
        if low < high:  # the guest can write to its own memory only
            self.memory.view[low:high] = content[low - at : high - at]
        if chance.random() < 0.1:
            count = self.value()
        flags = chance.choice((0, 0, 0, 0, 1, 8, 1 << 32, self.value()))
        return self.file(name), at, count, self.offset(), self.value(), flags
