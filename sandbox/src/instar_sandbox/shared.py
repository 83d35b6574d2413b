"""Memory that the host shares with a worker, as the worker sees it: the one descriptor that is open for writing too."""

from __future__ import annotations

import mmap

from instar_sandbox.jail import libc

place = 0
"""Where it lies in a guest, which cannot map anything. 0 in a process."""


def view(descriptor: int, size: int) -> memoryview:
    """All `size` bytes of it, to read and to write, in a program's prepare(). Raises OSError."""
    return libc.memory(place, size) if place else memoryview(mmap.mmap(descriptor, size))
