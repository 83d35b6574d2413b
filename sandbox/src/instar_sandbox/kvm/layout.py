"""Where things lie in a guest. Virtual and physical addresses are the same.

Below CONTROL_END lies what only privileged code may touch: page tables, descriptor tables, the handlers of exceptions.
The one exception is the page of the system-call stub. Page tables are never changed after a guest has started: what
mmap, munmap and mprotect do to a process is bookkeeping here, and only that.
"""

from __future__ import annotations

PAGE = 4096
LARGE = 2 << 20
"""Bytes of a page as the guest's tables map it."""

PML4 = 0x1000
LOW_POINTERS = 0x2000
HIGH_POINTERS = 0x3000
CONTROL_PAGES = 0x4000
"""The page table of the control area."""
CONTROL_DIRECTORY = 0x5000
"""The page directory through which the control area is seen a second time, high up."""
INTERRUPTS = 0x9000
DESCRIPTORS = 0xA000
HANDLERS = 0xB000
EXCEPTION_STACK = 0xD000
"""One page; the processor pushes frames downwards from its end."""
DIRECTORIES = 0x10000
"""Page directories, one for each GiB."""
MOST_MEMORY = 0x7F000000
TASK = 0x30000
STUB = 0x1FF000
"""Where `syscall` lands: a page that user code may execute, but not write."""
CONTROL_END = LARGE
HIGH = 0xFFFFFFFF80000000

PROGRAM = 0x400000
"""Where a position-independent program is loaded, and where others expect to be."""
HEAP_END = 0x2000000
"""The heap of brk grows from the program's end up to here."""
STACK_START = HEAP_END + LARGE
STACK_END = STACK_START + (8 << 20)
MAPPINGS = STACK_END
"""Everything that mmap places lies from here on."""
LEAST_MEMORY = 64 << 20
SHARED = 0x80000000
"""Where memory lies that the host shares with the guest, if it does."""
MOST_SHARED = 1 << 30

GUARDS = (CONTROL_END, HEAP_END)
"""Large pages that are never mapped: before the program, and before the stack, which would else run into the heap."""

SYSTEM_CALL_PORT = 0x10
EXCEPTION_PORT = 0x40
"""The handler of exception n writes to this port + n."""
EXCEPTIONS = 32
