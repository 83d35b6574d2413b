"""The system calls of a sealed guest: its channel, its files at explicit places, and nothing else that leaves it."""

from __future__ import annotations

import os

from instar_sandbox.jail.descriptors import FIRST, INPUT, OUTPUT
from instar_sandbox.kvm import numbers
from instar_sandbox.kvm.calls import Calls
from instar_sandbox.kvm.errors import GuestForbidden

TYPE_CHECKING = False
if TYPE_CHECKING:
    from instar_sandbox.kvm.calls import Call
    from instar_sandbox.kvm.memory import GuestMemory
    from instar_sandbox.kvm.output import Output
    from instar_sandbox.kvm.space import Space

NOWHERE = (1, 2)
"""Where the C library says why it aborts."""
FURTHEST = (1 << 63) - 1


class SealedCalls(Calls):
    """Descriptors have the numbers that they have in a jailed process, here and in the guest."""

    def __init__(self, memory: GuestMemory, space: Space, output: Output, files: int) -> None:
        """`files` descriptors from FIRST on can be read."""
        super().__init__(memory, space)
        self.output = output
        self.files = range(FIRST, FIRST + files)
        own: dict[str, Call] = {
            "read": self.read,
            "write": self.write,
            "readv": self.readv,
            "writev": self.writev,
            "pread64": self.pread64,
            "preadv": self.preadv,
            "preadv2": self.preadv2,
        }
        self.table.update({numbers.NUMBERS[name]: call for name, call in own.items()})

    def read(self, file: int, place: int, length: int, *_: int) -> int:
        """What the host sends."""
        if file & 0xFFFFFFFF != INPUT:
            raise _forbidden("read", file)
        return os.readv(INPUT, [self.memory.part(place, length)]) if length else 0

    def readv(self, file: int, place: int, count: int, *_: int) -> int:
        """The same, into several pieces."""
        if file & 0xFFFFFFFF != INPUT:
            raise _forbidden("readv", file)
        pieces = self.vectors(place, count)
        return os.readv(INPUT, pieces) if pieces else 0

    def write(self, file: int, place: int, length: int, *_: int) -> int:
        """An answer to the host."""
        number = file & 0xFFFFFFFF
        if number in NOWHERE:
            return length
        if number != OUTPUT:
            raise _forbidden("write", file)
        return self.output.write(self.memory.part(place, length)) if length else 0

    def writev(self, file: int, place: int, count: int, *_: int) -> int:
        """The same, from several pieces; nothing follows one that was not taken whole."""
        number = file & 0xFFFFFFFF
        if number not in NOWHERE and number != OUTPUT:
            raise _forbidden("writev", file)
        pieces = self.vectors(place, count)
        if number in NOWHERE:
            return sum([len(piece) for piece in pieces])
        done = 0
        for piece in pieces:
            taken = self.output.write(piece)
            done += taken
            if taken < len(piece):
                break
        return done

    def pread64(self, file: int, place: int, length: int, offset: int, *_: int) -> int:
        """Bytes of a file."""
        return self._read("pread64", file, [self.memory.part(place, length)] if length else [], offset)

    def preadv(self, file: int, place: int, count: int, offset: int, *_: int) -> int:
        """The same, into several pieces."""
        return self._read("preadv", file, self.vectors(place, count), offset)

    def preadv2(self, file: int, place: int, count: int, offset: int, high: int, flags: int) -> int:
        """The same; CPython reads so."""
        del high
        if flags & 0xFFFFFFFF:
            raise _forbidden("preadv2 with flags", file)
        return self._read("preadv2", file, self.vectors(place, count), offset)

    def _read(self, name: str, file: int, pieces: list[memoryview], offset: int) -> int:
        number = file & 0xFFFFFFFF
        if number not in self.files or offset > FURTHEST:
            raise _forbidden(name, file)
        if not pieces:
            return 0
        try:
            return os.preadv(number, pieces, offset)
        except OSError as error:
            return -(error.errno or numbers.EINVAL)


def _forbidden(name: str, file: int) -> GuestForbidden:
    return GuestForbidden(f"the guest made a forbidden system call ({name} on descriptor {file & 0xFFFFFFFF})")
