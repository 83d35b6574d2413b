"""The system calls that a guest may make at any time: bookkeeping of memory, time and chance as constants."""

from __future__ import annotations

import struct

from instar_sandbox.kvm import layout, numbers
from instar_sandbox.kvm.errors import GuestExited, GuestFault, GuestForbidden

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from instar_sandbox.kvm.memory import GuestMemory
    from instar_sandbox.kvm.space import Space

    Call = Callable[..., int]

MAP_FIXED, MAP_ANONYMOUS, MAP_FIXED_NOREPLACE = 0x10, 0x20, 0x100000
MREMAP_MAYMOVE, MREMAP_FIXED = 1, 2
MADV_DONTNEED, MADV_FREE = 4, 8
FUTEX_COMMAND = 0x7F
FUTEX_WAIT, FUTEX_WAKE, FUTEX_WAIT_BITSET, FUTEX_WAKE_BITSET = 0, 1, 9, 10
NOW = 1_000_000_000
"""Seconds since 1970, always: what a plugin needs of time and chance comes with its request."""
MOST_RANDOM = 1 << 20
PROCESS = 2
MOST_VECTORS = 1024
SIGABRT = 6


class Calls:
    """What both phases of a guest have. Each call gets six numbers and gives one: a result, or an error below zero."""

    def __init__(self, memory: GuestMemory, space: Space) -> None:
        self.memory = memory
        self.space = space
        own: dict[str, Call] = {
            "mmap": self.mmap,
            "munmap": self.munmap,
            "mremap": self.mremap,
            "mprotect": self.nothing,
            "madvise": self.madvise,
            "brk": self.brk,
            "futex": self.futex,
            "clock_gettime": self.clock_gettime,
            "gettimeofday": self.gettimeofday,
            "time": self.time,
            "getrandom": self.getrandom,
            "rt_sigprocmask": self.rt_sigprocmask,
            "sigaltstack": self.nothing,
            "sched_yield": self.nothing,
            "getpid": self.process,
            "gettid": self.process,
            "tgkill": self.tgkill,
            "exit": self.exit,
            "exit_group": self.exit,
        }
        self.table = {numbers.NUMBERS[name]: call for name, call in own.items()}

    def answer(self, number: int, arguments: tuple[int, ...]) -> int:
        """The result of a call. Raises GuestEnded where there is none."""
        call = self.table.get(number)
        if call is None:
            raise GuestForbidden(f"the guest made a forbidden system call ({numbers.named(number)})")
        return call(*arguments)

    def nothing(self, *_: int) -> int:
        """Success without any effect: there are no signals, and pages have no protection."""
        return 0

    def process(self, *_: int) -> int:
        """The one process, and thread, of a guest."""
        return PROCESS

    def exit(self, code: int, *_: int) -> int:
        """The guest ends."""
        raise GuestExited(code & 0xFF)

    def tgkill(self, group: int, thread: int, signal: int, *_: int) -> int:
        """abort() is the one signal that a guest can send."""
        if (group & 0xFFFFFFFF, thread & 0xFFFFFFFF, signal & 0xFFFFFFFF) != (PROCESS, PROCESS, SIGABRT):
            raise GuestForbidden("the guest made a forbidden system call (tgkill)")
        raise GuestFault("the guest aborted")

    def mmap(self, address: int, length: int, protection: int, flags: int, file: int, offset: int) -> int:
        """Anonymous memory, zero, wherever there is room."""
        del address, protection, file, offset
        if not flags & MAP_ANONYMOUS:
            raise GuestForbidden("the guest made a forbidden system call (mmap of a file)")
        if flags & (MAP_FIXED | MAP_FIXED_NOREPLACE):
            return -numbers.ENOMEM
        return self._place(length)

    def _place(self, length: int) -> int:
        if not 0 < length <= self.memory.size:
            return -(numbers.ENOMEM if length else numbers.EINVAL)
        place = self.space.take(length)
        return -numbers.ENOMEM if place is None else place

    def munmap(self, address: int, length: int, *_: int) -> int:
        """The memory is free."""
        return 0 if self.space.give(address, length) else -numbers.EINVAL

    def mremap(self, address: int, old: int, new: int, flags: int, *_: int) -> int:
        """The mapping has another size, and perhaps another place."""
        if not old or not new or flags & MREMAP_FIXED or address % layout.PAGE or address < layout.MAPPINGS:
            return -numbers.EINVAL
        if new > self.memory.size or address + old > self.memory.size:
            return -numbers.ENOMEM
        kept = -(-new // layout.PAGE) * layout.PAGE
        if new <= old:
            if kept < old:
                self.space.give(address + kept, old - kept)
            return address
        if self.space.grow(address, old, new):
            return address
        place = self.space.take(new) if flags & MREMAP_MAYMOVE else None
        if place is None:
            return -numbers.ENOMEM
        self.memory.put(place, self.memory.part(address, old))
        self.space.give(address, old)
        return place

    def madvise(self, address: int, length: int, advice: int, *_: int) -> int:
        """MADV_DONTNEED empties whole pages; all else is only advice."""
        if advice == MADV_DONTNEED:
            size = -(-length // layout.PAGE) * layout.PAGE
            if address % layout.PAGE or address < layout.MAPPINGS or address + size > self.memory.size:
                return -numbers.EINVAL
            self.memory.zero(address, size)
        return 0

    def brk(self, end: int, *_: int) -> int:
        """The end of the heap."""
        return self.space.set_heap(end)

    def futex(self, address: int, operation: int, *_: int) -> int:
        """Nobody waits and nobody wakes: there is one thread."""
        del address
        command = operation & FUTEX_COMMAND
        if command in (FUTEX_WAKE, FUTEX_WAKE_BITSET):
            return 0
        if command in (FUTEX_WAIT, FUTEX_WAIT_BITSET):
            return -numbers.EAGAIN
        raise GuestForbidden("the guest made a forbidden system call (futex)")

    def clock_gettime(self, clock: int, place: int, *_: int) -> int:
        """Always the same time, on every clock."""
        del clock
        self.memory.put(place, struct.pack("<QQ", NOW, 0))
        return 0

    def gettimeofday(self, place: int, *_: int) -> int:
        """The same."""
        if place:
            self.memory.put(place, struct.pack("<QQ", NOW, 0))
        return 0

    def time(self, place: int, *_: int) -> int:
        """The same."""
        if place:
            self.memory.put(place, struct.pack("<Q", NOW))
        return NOW

    def getrandom(self, place: int, length: int, *_: int) -> int:
        """Bytes that are no secret and no surprise."""
        count = min(length, MOST_RANDOM)
        pattern = bytes(range(1, 252))
        self.memory.put(place, (pattern * (count // len(pattern) + 1))[:count])
        return count

    def rt_sigprocmask(self, how: int, new: int, old: int, *_: int) -> int:
        """No signal is blocked, none arrives."""
        del how, new
        if old:
            self.memory.put(old, bytes(8))
        return 0

    def vectors(self, place: int, count: int) -> list[memoryview]:
        """The pieces of memory that an array of struct iovec names: all together no more than the guest has."""
        if count > MOST_VECTORS:
            raise GuestFault(f"the guest gave {count} pieces of memory at once")
        words = self.memory.words(place, 2 * count) if count else ()
        if sum(words[1::2]) > self.memory.size:
            raise GuestFault("the guest gave more bytes at once than it has")
        return [self.memory.part(words[at], words[at + 1]) for at in range(0, 2 * count, 2) if words[at + 1]]
