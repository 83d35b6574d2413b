"""The control area of a guest: page tables, descriptor tables, and a few bytes of code.

Source: Intel 64 and IA-32 Architectures Software Developer's Manual, volume 3, chapters 3 to 7. It is made anew for
every guest, never restored.
"""

from __future__ import annotations

import struct

from instar_sandbox.kvm import layout

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

PRESENT, WRITABLE, USER = 1, 2, 4
TOUCHED = 0x60
"""Accessed and dirty: the processor never needs to write into the tables."""
LARGE = 0x80
SUPERVISOR = PRESENT | WRITABLE | TOUCHED
TABLE = PRESENT | WRITABLE | USER | TOUCHED

KERNEL_CODE, KERNEL_DATA, USER_CODE_32, USER_DATA, USER_CODE, TASK = 0x10, 0x18, 0x23, 0x2B, 0x33, 0x40
STAR = USER_CODE_32 << 48 | KERNEL_CODE << 32
"""sysret loads cs from here plus 16, ss from here plus 8."""

STUB_CODE = bytes([0xE6, layout.SYSTEM_CALL_PORT]) + b"\x48\x0f\x07"
"""out %al, $port; sysretq. Where `syscall` leaves the guest unprivileged, the host returns in place of sysretq."""

TASK_SIZE = 0x68
PORTS = 1 << 16
GATE = struct.Struct("<HHBBHII")


def pages(memory: int, shared: int = 0) -> Iterator[tuple[int, bytes]]:
    """(address, bytes) of everything that a guest of so many bytes needs in its control area; all else is zero.

    `shared` is how many bytes it has at layout.SHARED, at most layout.MOST_SHARED.
    """
    yield from _tables(memory, shared)
    yield layout.DESCRIPTORS, _descriptors()
    yield layout.INTERRUPTS, _interrupts()
    yield layout.HANDLERS, b"".join(_handler(vector) for vector in range(layout.EXCEPTIONS))
    yield layout.TASK, _task()
    yield layout.STUB, STUB_CODE


def _entries(found: dict[int, int]) -> bytes:
    table = bytearray(layout.PAGE)
    for index, entry in found.items():
        struct.pack_into("<Q", table, 8 * index, entry)
    return bytes(table)


def _tables(memory: int, shared: int) -> Iterator[tuple[int, bytes]]:
    """4-level paging: the control area in small pages for privileged code, all the rest in large ones for the user."""
    giga = 1 << 30
    ends = {index * giga: memory for index in range(-(-memory // giga))}
    if shared:
        ends[layout.SHARED] = layout.SHARED + shared
    directories = {start // giga: layout.DIRECTORIES + layout.PAGE * (start // giga) for start in ends}
    yield layout.PML4, _entries({0: layout.LOW_POINTERS | TABLE, 511: layout.HIGH_POINTERS | SUPERVISOR})
    yield layout.LOW_POINTERS, _entries({index: place | TABLE for index, place in directories.items()})
    yield layout.HIGH_POINTERS, _entries({510: layout.CONTROL_DIRECTORY | SUPERVISOR})
    yield layout.CONTROL_DIRECTORY, _entries({0: layout.CONTROL_PAGES | SUPERVISOR})
    small = {index: index * layout.PAGE | SUPERVISOR for index in range(512)}
    small[0] = 0
    small[layout.STUB // layout.PAGE] = layout.STUB | PRESENT | USER | TOUCHED
    yield layout.CONTROL_PAGES, _entries(small)
    for index, place in directories.items():
        start = index * giga
        starts = range(start, min(start + giga, ends[start]), layout.LARGE)
        large = [at | TABLE | LARGE if at not in layout.GUARDS else 0 for at in starts]
        if index == 0:
            large[0] = layout.CONTROL_PAGES | TABLE
        yield place, struct.pack(f"<{len(large)}Q", *large)


def _descriptors() -> bytes:
    """The global descriptor table, in the order that STAR asks for; the task's descriptor takes two places."""
    base = layout.HIGH + layout.TASK
    limit = TASK_SIZE + PORTS // 8
    low = limit & 0xFFFF | (base & 0xFFFFFF) << 16 | 0x8B << 40 | (limit >> 16 & 0xF) << 48 | (base >> 24 & 0xFF) << 56
    entries = {
        KERNEL_CODE: 0x00AF9B000000FFFF,
        KERNEL_DATA: 0x00CF93000000FFFF,
        USER_CODE_32 & ~3: 0x00CFFB000000FFFF,
        USER_DATA & ~3: 0x00CFF3000000FFFF,
        USER_CODE & ~3: 0x00AFFB000000FFFF,
        TASK: low,
        TASK + 8: base >> 32,
    }
    table = bytearray(TASK + 16)
    for selector, entry in entries.items():
        struct.pack_into("<Q", table, selector, entry)
    return bytes(table)


def _interrupts() -> bytes:
    """Gates that no user code can call: an exception is the only way through them."""
    gates = []
    for vector in range(layout.EXCEPTIONS):
        handler = layout.HIGH + layout.HANDLERS + 16 * vector
        gates.append(GATE.pack(handler & 0xFFFF, KERNEL_CODE, 0, 0x8E, handler >> 16 & 0xFFFF, handler >> 32, 0))
    return b"".join(gates)


def _handler(vector: int) -> bytes:
    """out %al, $port; hlt; and again: the host never lets it go on."""
    return bytes([0xE6, layout.EXCEPTION_PORT + vector, 0xF4, 0xEB, 0xFB]).ljust(16, b"\xcc")


def _task() -> bytes:
    """The task state: a stack for exceptions, and one port that user code may write to."""
    task = bytearray(TASK_SIZE + PORTS // 8 + 1)
    struct.pack_into("<Q", task, 4, layout.HIGH + layout.EXCEPTION_STACK + layout.PAGE)
    struct.pack_into("<H", task, 0x66, TASK_SIZE)
    task[TASK_SIZE:] = b"\xff" * (PORTS // 8 + 1)
    task[TASK_SIZE + layout.SYSTEM_CALL_PORT // 8] &= ~(1 << layout.SYSTEM_CALL_PORT % 8)
    return bytes(task)
