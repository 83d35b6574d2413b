"""Large buffers that are used again, so that their pages are faulted in once."""

from __future__ import annotations

from instar_core.dataplane.positional import ALIGNMENT


class Buffer:
    """Memory for `size` bytes: `data` from `base` on. `users` counts who still needs what is in it."""

    __slots__ = ("base", "data", "size", "users", "view")

    def __init__(self, size: int, *, aligned: bool = False) -> None:
        self.size = size
        self.data = bytearray(size + (ALIGNMENT if aligned else 0))
        self.base = -_address(self.data) % ALIGNMENT if aligned else 0
        self.view = memoryview(self.data)[self.base : self.base + size]
        self.users = 0


def _address(data: bytearray) -> int:
    import ctypes

    return ctypes.addressof(ctypes.c_char.from_buffer(data))


class Buffers:
    """A stock of equal buffers. What is taken is given back, or simply forgotten."""

    __slots__ = ("_free", "aligned", "keep", "size")

    def __init__(self, size: int, *, aligned: bool = False, keep: int = 24) -> None:
        self.size = size
        self.aligned = aligned
        self.keep = keep
        self._free: list[Buffer] = []

    def take(self) -> Buffer:
        """A buffer whose content is arbitrary."""
        # list.pop and append are atomic: one thread may take what another gives back.
        try:
            return self._free.pop()
        except IndexError:
            return Buffer(self.size, aligned=self.aligned)

    def give(self, buffer: Buffer) -> None:
        """The buffer may be taken again."""
        if len(self._free) < self.keep:
            self._free.append(buffer)
