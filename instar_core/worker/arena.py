"""The memory that a codec worker shares with its host: mapped, or in a guest, which cannot, copied batch by batch."""

from __future__ import annotations

import mmap
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    class Arena(Protocol):
        """Shared memory of `size` bytes."""

        size: int

        def take(self, start: int, end: int) -> memoryview:
            """The bytes from start to end, to read."""

        def room(self, start: int, end: int) -> memoryview:
            """A place for what shall stand from start to end."""

        def give(self, start: int, made: int) -> None:
            """The first `made` bytes of the room last asked for are in the arena, from `start` on."""


GUEST = "INSTAR_SANDBOX_GUEST"
"""A variable that every guest has in its environment."""


def arena(descriptor: int, size: int) -> Arena:
    """The arena behind a descriptor."""
    if GUEST in os.environ:
        return Copied(descriptor, size)
    return Mapped(memoryview(mmap.mmap(descriptor, size)), size)


class Mapped:
    """Nothing is copied."""

    __slots__ = ("_view", "size")

    def __init__(self, view: memoryview, size: int) -> None:
        self._view = view
        self.size = size

    def take(self, start: int, end: int) -> memoryview:
        """The bytes themselves."""
        return self._view[start:end]

    def room(self, start: int, end: int) -> memoryview:
        """The place itself."""
        return self._view[start:end]

    def give(self, start: int, made: int) -> None:
        """It is there already."""


class Copied:
    """Each batch comes and goes in one piece, through buffers that are used again."""

    __slots__ = ("_descriptor", "_inside", "_outside", "size")

    def __init__(self, descriptor: int, size: int) -> None:
        self._descriptor = descriptor
        self._inside = memoryview(b"")
        self._outside = memoryview(b"")
        self.size = size

    def take(self, start: int, end: int) -> memoryview:
        """A copy of the bytes, valid until the next."""
        if len(self._inside) < end - start:
            self._inside = memoryview(bytearray(end - start))
        view = self._inside[: end - start]
        done = 0
        while done < len(view):
            got = os.preadv(self._descriptor, [view[done:]], start + done)
            if not got:
                raise OSError("the arena is shorter than it was said to be")
            done += got
        return view

    def room(self, start: int, end: int) -> memoryview:
        """A buffer, valid until the next."""
        if len(self._outside) < end - start:
            self._outside = memoryview(bytearray(end - start))
        return self._outside[: end - start]

    def give(self, start: int, made: int) -> None:
        """The buffer's content is in the arena."""
        done = 0
        while done < made:
            done += os.pwrite(self._descriptor, self._outside[done:made], start + done)
