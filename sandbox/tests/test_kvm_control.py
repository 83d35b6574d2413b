"""The control area of a guest, read as the processor would: what is mapped, for whom, and what code is there."""

import struct

import pytest
from instar_sandbox.kvm import control, layout, machine
from instar_sandbox.kvm.memory import GuestMemory

GIGA = 1 << 30
SIZES = (layout.LEAST_MEMORY, GIGA - layout.LARGE, GIGA, GIGA + layout.LARGE, layout.MOST_MEMORY)
PRESENT, WRITABLE, USER, LARGE_PAGE, NO_EXECUTE = 1, 2, 4, 0x80, 1 << 63
ADDRESS = 0x000FFFFFFFFFF000


def area(size, shared=0):
    """The control area of a guest of this size, as bytes."""
    made = bytearray(layout.CONTROL_END)
    for address, content in control.pages(size, shared):
        assert not any(made[address : address + len(content)]), f"two things stand at {address:#x}"
        made[address : address + len(content)] = content
        assert len(made) == layout.CONTROL_END, f"{address:#x} is outside the control area"
    return bytes(made)


def mapped(memory):
    """(virtual address, physical address, bytes, rights) of each page, through all four levels of the tables."""

    def walk(table, level, base, rights):
        assert table % layout.PAGE == 0
        for index, (entry,) in enumerate(struct.iter_unpack("<Q", memory[table : table + layout.PAGE])):
            if not entry & PRESENT:
                assert entry == 0, "an entry that is not present says something"
                continue
            assert entry & 0x60 in (0x60, 0x20) and entry & 0x20, "the processor would write into the tables"
            span = layout.PAGE << 9 * (level - 1)
            start, granted = base + index * span, rights & entry & (WRITABLE | USER)
            if level == 1 or (entry & LARGE_PAGE and level == 2):
                assert entry & 0x40 or not granted & WRITABLE, "the processor would write into the tables"
                physical = entry & ADDRESS
                assert physical % span == 0, "reserved bits are set"
                yield start, physical, span, granted
            else:
                assert not entry & LARGE_PAGE
                yield from walk(entry & ADDRESS, level - 1, start, granted)

    for virtual, *rest in walk(layout.PML4, 4, 0, WRITABLE | USER):
        yield (virtual | 0xFFFF << 48 if virtual >> 47 else virtual, *rest)


@pytest.mark.parametrize("size", SIZES)
def test_user_code_sees_its_memory_and_nothing_else(size):
    pages = list(mapped(area(size)))
    users = {(virtual, physical, span, rights) for virtual, physical, span, rights in pages if rights & USER}
    wanted = {
        (at, at, layout.LARGE, USER | WRITABLE)
        for at in range(layout.CONTROL_END, size, layout.LARGE)
        if at not in layout.GUARDS
    }
    assert users == wanted | {(layout.STUB, layout.STUB, layout.PAGE, USER)}
    assert layout.PROGRAM in {virtual for virtual, *_ in users}
    for guard in layout.GUARDS:
        assert not any(guard <= virtual < guard + layout.LARGE for virtual, *_ in pages)


@pytest.mark.parametrize("shared", [1, layout.LARGE, layout.LARGE + 1, 48 << 20, layout.MOST_SHARED])
@pytest.mark.parametrize("size", SIZES)
def test_what_the_host_shares_is_mapped_at_its_own_address_and_changes_nothing_else(size, shared):
    alone, both = set(mapped(area(size))), set(mapped(area(size, shared)))
    ends = -(-shared // layout.LARGE) * layout.LARGE
    wanted = range(layout.SHARED, layout.SHARED + ends, layout.LARGE)
    assert both - alone == {(at, at, layout.LARGE, USER | WRITABLE) for at in wanted}
    assert alone <= both
    assert layout.SHARED >= layout.MOST_MEMORY


@pytest.mark.parametrize("size", SIZES)
def test_privileged_code_sees_the_control_area_twice_but_never_address_zero(size):
    pages = [page for page in mapped(area(size)) if not page[3] & USER]
    low = range(layout.PAGE, layout.CONTROL_END, layout.PAGE)
    wanted = {(at, at, layout.PAGE, WRITABLE) for at in low if at != layout.STUB}
    high = {(layout.HIGH + at, at, layout.PAGE, WRITABLE if at != layout.STUB else 0) for at in low}
    assert set(pages) == wanted | high


@pytest.mark.parametrize("shared", [0, layout.MOST_SHARED])
@pytest.mark.parametrize("size", SIZES)
def test_the_tables_lie_in_the_control_area_and_apart(size, shared):
    memory = area(size, shared)
    tables, waiting = set(), [(layout.PML4, 4)]
    while waiting:
        table, level = waiting.pop()
        assert 0 < table < layout.STUB
        tables.add((table, level))
        for (entry,) in struct.iter_unpack("<Q", memory[table : table + layout.PAGE]):
            if entry & PRESENT and level > 1 and not entry & LARGE_PAGE:
                waiting.append((entry & ADDRESS, level - 1))
    assert len({table for table, _ in tables}) == len(tables), "one page is a table of two levels"
    own = {layout.DESCRIPTORS, layout.INTERRUPTS, layout.HANDLERS, layout.EXCEPTION_STACK, layout.STUB}
    own |= set(range(layout.TASK, layout.TASK + control.TASK_SIZE + control.PORTS // 8 + 1, layout.PAGE))
    assert not own & {table for table, _ in tables}
    assert not any(memory[layout.EXCEPTION_STACK : layout.EXCEPTION_STACK + layout.PAGE])


def test_a_guest_is_made_with_these_pages():
    memory = GuestMemory(layout.LEAST_MEMORY)
    assert bytes(memory.view[: layout.CONTROL_END]) == area(layout.LEAST_MEMORY)
    memory.close()


def test_user_code_may_write_to_one_port_only():
    memory = area(layout.LEAST_MEMORY)
    task, base, limit = descriptor(memory, control.TASK)
    assert (task, base) == (0x8B, layout.HIGH + layout.TASK)
    at = layout.TASK
    (bitmap,) = struct.unpack_from("<H", memory, at + 0x66)
    assert bitmap == control.TASK_SIZE == 0x68
    assert limit == 0x68 + 65536 // 8, "the limit takes in the byte of ones behind the last port"
    allowed = [port for port in range(65536) if not memory[at + bitmap + port // 8] >> port % 8 & 1]
    assert allowed == [layout.SYSTEM_CALL_PORT]
    assert memory[at + limit] == 0xFF
    stacks = struct.unpack_from("<3Q", memory, at + 4)
    assert stacks == (layout.HIGH + layout.EXCEPTION_STACK + layout.PAGE, 0, 0)
    assert not any(memory[at + 28 : at + 0x66]), "stacks for interrupts that no gate names"


def descriptor(memory, selector):
    """(access byte, base, limit) of a descriptor of the system, which takes two places."""
    low, high = struct.unpack_from("<QQ", memory, layout.DESCRIPTORS + selector)
    base = low >> 16 & 0xFFFFFF | (low >> 56 & 0xFF) << 24 | (high & 0xFFFFFFFF) << 32
    return low >> 40 & 0xFF, base, low & 0xFFFF | (low >> 48 & 0xF) << 16


def test_segments_are_flat_with_the_levels_that_star_asks_for():
    memory = area(layout.LEAST_MEMORY)
    table = struct.unpack_from("<8Q", memory, layout.DESCRIPTORS)
    access = {index * 8: (entry >> 40 & 0xFF, entry >> 53 & 1) for index, entry in enumerate(table) if entry}
    assert access == {
        0x10: (0x9B, 1),  # code for level 0, 64 bits, already accessed
        0x18: (0x93, 0),
        0x20: (0xFB, 0),  # code for level 3
        0x28: (0xF3, 0),
        0x30: (0xFB, 1),
    }
    assert control.STAR >> 48 & 0xFFFF == 0x23
    assert (control.STAR >> 48) + 16 == control.USER_CODE
    assert (control.STAR >> 48) + 8 == control.USER_DATA
    assert control.STAR >> 32 & 0xFFFF == control.KERNEL_CODE
    assert not any(memory[layout.DESCRIPTORS + control.TASK + 16 : layout.DESCRIPTORS + layout.PAGE])


def test_no_gate_can_be_called_by_user_code():
    memory = area(layout.LEAST_MEMORY)
    for vector in range(layout.EXCEPTIONS):
        low, selector, stack, kind, middle, high, zero = struct.unpack_from(
            "<HHBBHII", memory, layout.INTERRUPTS + 16 * vector
        )
        assert (selector, stack, zero) == (control.KERNEL_CODE, 0, 0)
        assert kind == 0x8E, "present, an interrupt gate, for level 0 only"
        handler = (low | middle << 16 | high << 32) - layout.HIGH
        port = layout.EXCEPTION_PORT + vector
        assert memory[handler : handler + 5] == bytes([0xE6, port, 0xF4, 0xEB, 0xFB])
        target = handler + 5 + struct.unpack_from("<b", memory, handler + 4)[0]
        assert target == handler, "what follows an exception is the same exit again"
    assert not any(memory[layout.INTERRUPTS + 16 * layout.EXCEPTIONS : layout.INTERRUPTS + layout.PAGE])


def test_the_ports_of_exceptions_are_not_those_of_system_calls():
    ports = range(layout.EXCEPTION_PORT, layout.EXCEPTION_PORT + layout.EXCEPTIONS)
    assert layout.SYSTEM_CALL_PORT not in ports
    assert ports[-1] < 256, "an immediate port is one byte"


def test_the_stub_writes_to_its_port_and_returns():
    memory = area(layout.LEAST_MEMORY)
    assert memory[layout.STUB : layout.STUB + 5] == bytes([0xE6, layout.SYSTEM_CALL_PORT, 0x48, 0x0F, 0x07])
    assert not any(memory[layout.STUB + 5 : layout.STUB + layout.PAGE])
    assert machine.STUB_PLACES == (layout.STUB, layout.STUB + 2)


def test_flags_of_a_returning_guest_hold_nothing_privileged():
    trap, level, nested, resume, virtual = 0x100, 0x3000, 0x4000, 0x10000, 0x20000
    interrupts = 0x180000
    for flag in (trap, level, nested, resume, virtual, interrupts):
        assert not machine.KEPT_FLAGS & flag
        assert not machine.FIXED_FLAGS & flag
    for flag in (trap, level, nested, resume, 0x400, 0x200):
        assert machine.CLEARED_FLAGS & flag == flag, "syscall leaves a flag that the stub must not have"


def test_a_guest_of_any_size_keeps_clear_of_what_old_processors_need():
    assert layout.MOST_MEMORY % layout.LARGE == 0
    assert layout.MOST_MEMORY + 3 * layout.PAGE <= 1 << 32
    assert -(-layout.MOST_MEMORY // GIGA) * layout.PAGE <= layout.TASK - layout.DIRECTORIES
