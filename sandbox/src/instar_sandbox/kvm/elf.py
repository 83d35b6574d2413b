"""Programs in a guest's memory: the segments of ELF files, and the stack that a program starts with.

Source: System V Application Binary Interface, AMD64 supplement 1.0, sections 3.4 and 5.1; ELF specification 1.2. The
files are the interpreter's own, which are trusted; what cannot be loaded is refused all the same.
"""

from __future__ import annotations

import os
import struct

from instar_sandbox.kvm import layout
from instar_sandbox.kvm.errors import BackendError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from instar_sandbox.kvm.memory import GuestMemory
    from instar_sandbox.kvm.space import Space

HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
SEGMENT = struct.Struct("<IIQQQQQQ")
IDENTITY = b"\x7fELF\x02\x01\x01"
FIXED, RELOCATABLE = 2, 3
X86_64 = 62
LOAD, INTERPRETER = 1, 3

AT_PHDR, AT_PHENT, AT_PHNUM, AT_PAGESZ, AT_BASE, AT_ENTRY = 3, 4, 5, 6, 7, 9
AT_UID, AT_EUID, AT_GID, AT_EGID, AT_CLKTCK, AT_SECURE, AT_RANDOM, AT_EXECFN = 11, 12, 13, 14, 17, 23, 25, 31
AT_PLATFORM, AT_MINSIGSTKSZ = 15, 51
NOBODY = 65534


class Loaded:
    """Where a program lies: its base, entry, program headers and their number, end, and the interpreter it asks for."""

    __slots__ = ("base", "count", "end", "entry", "headers", "interpreter")

    def __init__(self, base: int, entry: int, headers: int, count: int, end: int, interpreter: str) -> None:
        self.base = base
        self.entry = entry
        self.headers = headers
        self.count = count
        self.end = end
        self.interpreter = interpreter


def load(descriptor: int, memory: GuestMemory, space: Space, *, program: bool) -> Loaded:
    """The segments of an open ELF file are in memory: a program at its own place, anything else as a mapping.

    Raises BackendError for a file that is none, or does not fit.
    """
    head = os.pread(descriptor, HEADER.size, 0)
    if len(head) < HEADER.size or not head.startswith(IDENTITY):
        raise BackendError("the interpreter is not a 64-bit ELF program")
    _, kind, machine, _, entry, table, _, _, _, size, count, *_ = HEADER.unpack(head)
    if machine != X86_64 or kind not in (FIXED, RELOCATABLE) or size != SEGMENT.size:
        raise BackendError("the interpreter is not a program for x86-64")
    within = os.fstat(descriptor).st_size
    if table + size * count > within:
        raise BackendError("the interpreter is cut short")
    segments = list(SEGMENT.iter_unpack(os.pread(descriptor, size * count, table)))
    loads = [segment for segment in segments if segment[0] == LOAD]
    if not loads:
        raise BackendError("the interpreter has nothing to load")
    named = [segment for segment in segments if segment[0] == INTERPRETER]
    for _, _, offset, _, _, stored, _, _ in loads + named:
        if offset + stored > within:
            raise BackendError("the interpreter is cut short")
    length = max(address + wanted for _, _, _, address, _, _, wanted, _ in loads)
    base = 0
    if kind == RELOCATABLE:
        place = layout.PROGRAM if program else space.take(length)
        if place is None:
            raise BackendError("the interpreter does not fit into the guest")
        base = place
    elif not program:
        raise BackendError("the interpreter is loaded by a program that has a place of its own")
    start, end = (layout.PROGRAM, layout.HEAP_END) if program else (base, memory.size)
    for _, _, offset, address, _, stored, wanted, _ in loads:
        if base + address < start or base + address + wanted > end or stored > wanted:
            raise BackendError("the interpreter does not fit into the guest")
        read(descriptor, memory.part(base + address, stored), offset)
    interpreter = os.fsdecode(os.pread(descriptor, named[0][5], named[0][2]).rstrip(b"\0")) if named else ""
    first = min(loads, key=lambda segment: segment[3])
    return Loaded(base, base + entry, base + first[3] - first[2] + table, count, base + length, interpreter)


def read(descriptor: int, view: memoryview, offset: int) -> int:
    """As much of the view as the file has from the offset on is filled: so many bytes."""
    done = 0
    while done < len(view):
        got = os.preadv(descriptor, [view[done:]], offset + done)
        if not got:
            break
        done += got
    return done


def stack(
    memory: GuestMemory, arguments: Sequence[str], environment: Mapping[str, str], program: Loaded, base: int
) -> int:
    """What main() will find stands at the top of the stack; the stack pointer to start with."""
    at = layout.STACK_END

    def push(content: bytes) -> int:
        nonlocal at
        at -= len(content)
        memory.put(at, content)
        return at

    texts = [push(os.fsencode(text) + b"\0") for text in arguments]
    settings = [push(os.fsencode(f"{name}={value}") + b"\0") for name, value in environment.items()]
    platform = push(b"x86_64\0")
    seed = push(bytes(range(16)))
    at &= ~15
    auxiliary = {
        AT_PHDR: program.headers,
        AT_PHENT: SEGMENT.size,
        AT_PHNUM: program.count,
        AT_PAGESZ: layout.PAGE,
        AT_BASE: base,
        AT_ENTRY: program.entry,
        AT_UID: NOBODY,
        AT_EUID: NOBODY,
        AT_GID: NOBODY,
        AT_EGID: NOBODY,
        AT_CLKTCK: 100,
        AT_SECURE: 0,
        AT_RANDOM: seed,
        AT_EXECFN: texts[0],
        AT_PLATFORM: platform,
        AT_MINSIGSTKSZ: 4096,
        0: 0,
    }
    words = [len(texts), *texts, 0, *settings, 0]
    for key, value in auxiliary.items():
        words += key, value
    if len(words) % 2:
        push(bytes(8))
    return push(struct.pack(f"<{len(words)}Q", *words))
