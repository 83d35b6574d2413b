"""A guest's memory as its host sees it: every access is checked against its bounds, and so a slice or an error."""

from __future__ import annotations

import mmap
import struct

from instar_sandbox.jail import libc
from instar_sandbox.kvm import control, layout
from instar_sandbox.kvm.errors import GuestFault

ZEROS = bytes(1 << 20)
LONGEST_TEXT = 4096
MAP_NORESERVE = 0x4000
MADV_DONTNEED, MADV_HUGEPAGE = 4, 14


class GuestMemory:
    """`size` bytes, zero at first, on a boundary of large pages. The host's page tables fill as it is used.

    `shared` is memory of the host's that the guest has beside them, at layout.SHARED; no system call reaches it.
    """

    __slots__ = ("_map", "_offset", "address", "fixed", "shared", "size", "view")

    def __init__(self, size: int, shared: mmap.mmap | None = None) -> None:
        """Raises MemoryError where there is not so much address space, or more is shared than may be."""
        if shared is not None and len(shared) > layout.MOST_SHARED:
            raise MemoryError(f"{len(shared)} bytes are more than a guest can share")
        self.shared = shared
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | MAP_NORESERVE
        try:
            self._map = mmap.mmap(-1, size + layout.LARGE, flags=flags)
        except OSError as error:
            raise MemoryError(str(error)) from error
        start = libc.address(self._map)
        self._offset = -start % layout.LARGE
        self.address = start + self._offset
        self.size = size
        self.view = memoryview(self._map)[self._offset : self._offset + size]
        self.fixed = layout.CONTROL_END
        """Up to here memory may be mapped from a file, and must not be given back to the kernel."""
        for place, content in control.pages(size, 0 if shared is None else len(shared)):
            self.view[place : place + len(content)] = content

    def close(self) -> None:
        """The memory is given back."""
        self.view.release()
        self._map.close()

    def part(self, address: int, length: int) -> memoryview:
        """The guest's own bytes at an address. Raises GuestFault unless all of them are user memory."""
        if length < 0 or address < layout.PROGRAM or address + length > self._end(address):
            raise GuestFault(f"the guest gave an address that is not its own: {length} bytes at {address:#x}")
        return self.view[address : address + length]

    def _end(self, address: int) -> int:
        """Where the user memory ends that an address lies in: the page before the stack is nobody's."""
        return layout.HEAP_END if address < layout.STACK_START else self.size

    def text(self, address: int) -> str:
        """A zero-terminated string, as a file name. Raises GuestFault for one that is too long."""
        room = min(LONGEST_TEXT, max(0, self._end(address) - address))
        found, zero, _ = bytes(self.part(address, room)).partition(b"\0")
        if not zero:
            raise GuestFault(f"the guest gave a string without an end at {address:#x}")
        return found.decode("utf-8", "surrogateescape")

    def words(self, address: int, count: int) -> tuple[int, ...]:
        """`count` 64-bit numbers."""
        return struct.unpack(f"<{count}Q", self.part(address, 8 * count))

    def put(self, address: int, content: bytes | bytearray | memoryview) -> None:
        """The content stands there. Raises GuestFault unless all of it is user memory."""
        self.part(address, len(content))[:] = content

    def zero(self, address: int, length: int) -> None:
        """The bytes are zero."""
        part = self.part(address, length)
        below = min(length, max(0, self.fixed - address))
        if length - below < layout.LARGE:
            below = length
        else:  # back to the kernel, in whole pages
            start = -(-(address + below) // layout.PAGE) * layout.PAGE
            end = (address + length) // layout.PAGE * layout.PAGE
            self._map.madvise(MADV_DONTNEED, self._offset + start, end - start)
            below = start - address
            part[end - address :] = bytes(address + length - end)
        for at in range(0, below, len(ZEROS)):
            piece = part[at : min(at + len(ZEROS), below)]
            piece[:] = ZEROS[: len(piece)]

    def large(self, start: int, end: int) -> None:
        """The kernel is asked to back these addresses with large pages."""
        try:
            self._map.madvise(MADV_HUGEPAGE, self._offset + start, end - start)
        except OSError:  # a kernel without them
            return
