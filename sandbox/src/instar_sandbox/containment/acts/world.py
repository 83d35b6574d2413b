"""What a hostile program knows of the world outside."""

from __future__ import annotations

import mmap
import os

from instar_sandbox.jail._libc import ffi

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from instar_sandbox.frames import Channel

    Act = Callable[["World", bytes], object]

SCRATCH = 64 << 10
"""Bytes of memory that an act may lay out as it likes."""
POINTER_TEXT = 256
MACHINE = os.uname().machine
"""Asked once: behind the walls nobody tells."""
RWX = mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC
MAP_32BIT = 0x40
"""Compatibility mode sees the lowest 4 GiB only."""


class Refused(Exception):
    """An act was refused otherwise than by an error number; the message says how."""


class Absent(Exception):
    """An act cannot be tried on this machine; the message says why."""


class World:
    """A worker's channel and files, and of its host: a process, an address in it, a file's name, open descriptors."""

    __slots__ = ("address", "area", "channel", "descriptors", "foreign", "parent", "path", "scratch")

    def __init__(self, argument: bytes, descriptors: tuple[int, ...]) -> None:
        """The argument is what describe() made."""
        parent, address, foreign, path = argument.split(b" ", 3)
        self.parent = int(parent)
        self.address = int(address)
        self.foreign = [int(number) for number in foreign.split(b",")]
        self.path = path.decode("utf-8", "surrogateescape")
        self.descriptors = descriptors
        self.scratch = bytearray(SCRATCH)
        self.scratch[-POINTER_TEXT:] = path[: POINTER_TEXT - 1].ljust(POINTER_TEXT, b"\0")
        self.area = executable()
        self.channel: Channel

    @property
    def image(self) -> int:
        """The first of its files."""
        return self.descriptors[0]

    def number(self, word: bytes) -> int:
        """A number that stands in an order, or the one that a name there stands for.

        `iov:ADDRESS:LENGTH` is the address of a struct iovec with these two words.
        """
        if word[:1].isdigit() or word[:1] == b"-":
            return int(word, 0)
        if word.startswith(b"iov:"):
            base, length = (self.number(part) for part in word[4:].split(b":"))
            for place, value in ((0, base), (8, length)):
                self.scratch[place : place + 8] = (value & (1 << 64) - 1).to_bytes(8, "little")
            return self.here()
        if word.startswith(b"foreign:"):
            return self.foreign[int(word[8:])]
        if word in (b"scratch", b"path"):
            return self.here() if word == b"scratch" else self.named()
        return {
            b"parent": self.parent,
            b"victim": self.address,
            b"image": self.descriptors[0],
            b"shared": self.descriptors[-1],
        }[word]

    def here(self) -> int:
        """The address of the scratch memory."""
        return int(ffi.cast("uintptr_t", ffi.from_buffer(self.scratch)))

    def named(self) -> int:
        """The address of the file's name, zero-terminated."""
        return self.here() + SCRATCH - POINTER_TEXT


def executable() -> mmap.mmap | None:
    """Memory that may be written and run, had before a process has walls; None where no program gets such."""
    if MACHINE != "x86_64":
        return None
    try:
        return mmap.mmap(-1, mmap.PAGESIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | MAP_32BIT, prot=RWX)
    except OSError:
        return None


def describe(parent: int, address: int, foreign: list[int], path: str) -> bytes:
    """The argument for a program, from which a World comes."""
    numbers = ",".join(map(str, foreign))
    return f"{parent} {address} {numbers} ".encode() + path.encode("utf-8", "surrogateescape")
