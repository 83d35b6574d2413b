"""Large buffers that are used again, so that their pages are faulted in once."""

from __future__ import annotations

from instar_sandbox.jail.libc import address

from instar_core.dataplane.positional import ALIGNMENT


class Buffer:
    """Memory for `size` bytes: `data` from `base` on. `users` counts who still needs what is in it.

    It begins with a page: O_DIRECT wants that, and processors copy out of the page cache at half the speed to memory
    that lies across their cache lines, as that of every bytearray does.
    """

    __slots__ = ("base", "data", "size", "users", "view")

    def __init__(self, size: int) -> None:
        self.size = size
        self.data = bytearray(size + ALIGNMENT)
        self.base = -address(self.data) % ALIGNMENT
        self.view = memoryview(self.data)[self.base : self.base + size]
        self.users = 0


class Buffers:
    """A stock of equal buffers. What is taken is given back, or simply forgotten."""

    __slots__ = ("_free", "keep", "size")

    def __init__(self, size: int, *, keep: int = 24) -> None:
        self.size = size
        self.keep = keep
        self._free: list[Buffer] = []

    def take(self) -> Buffer:
        """A buffer whose content is arbitrary."""
        # list.pop and append are atomic: one thread may take what another gives back.
        try:
            return self._free.pop()
        except IndexError:
            return Buffer(self.size)

    def give(self, buffer: Buffer) -> None:
        """The buffer may be taken again."""
        if len(self._free) < self.keep:
            self._free.append(buffer)
