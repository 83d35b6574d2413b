"""A guest's memory: an address that is not the guest's own is refused, whatever the number."""

import importlib.util
import mmap
import os
import pathlib
import random
import sys

import pytest
from instar_sandbox.kvm import layout, restore
from instar_sandbox.kvm.errors import GuestFault
from instar_sandbox.kvm.memory import LONGEST_TEXT, GuestMemory
from instar_sandbox.kvm.space import Space


def load(name):
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, pathlib.Path(__file__).with_name(f"{name}.py"))
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


specimens = load("kvm_specimens")
SIZE = layout.LEAST_MEMORY


@pytest.fixture
def memory():
    made = GuestMemory(SIZE)
    yield made
    made.close()


def resident(address, length):
    """Bytes of an address range of this process that are in RAM."""
    found = 0
    with open("/proc/self/pagemap", "rb", buffering=0) as pages:
        pages.seek(address // mmap.PAGESIZE * 8)
        for _ in range(0, length, mmap.PAGESIZE):
            found += mmap.PAGESIZE * (pages.read(8)[7] >> 7)
    return found


def test_all_user_memory_is_the_guests_own(memory):
    for start, end in ((layout.PROGRAM, layout.HEAP_END), (layout.STACK_START, SIZE)):
        assert len(memory.part(start, end - start)) == end - start
        memory.put(end - 3, b"abc")
        assert bytes(memory.part(end - 3, 3)) == b"abc"
        assert memory.part(start, 0) == b""


@pytest.mark.parametrize(
    ("address", "length"),
    [
        (0, 1),
        (layout.PML4, 8),
        (layout.TASK, 8),
        (layout.STUB, 1),
        (layout.CONTROL_END - 1, 1),
        (layout.CONTROL_END, 1),  # the first guard
        (layout.PROGRAM - 1, 1),
        (layout.PROGRAM - 1, 2),
        (layout.HEAP_END - 1, 2),  # into the second guard
        (layout.HEAP_END, 1),
        (layout.STACK_START - 1, 1),
        (layout.STACK_START - 1, 2),
        (layout.PROGRAM, SIZE - layout.PROGRAM),  # over the second guard
        (SIZE - 1, 2),
        (SIZE, 1),
        (layout.PROGRAM, SIZE),
        (layout.PROGRAM, 1 << 63),
        (layout.PROGRAM, (1 << 64) - 1),
        ((1 << 64) - 1, 1),
        ((1 << 64) - 1, (1 << 64) - 1),
        ((1 << 64) - layout.PROGRAM, 2 * layout.PROGRAM),
        (layout.HIGH + layout.PROGRAM, 1),
        (1 << 63, 1),
        (SIZE + 1, 0),
        (layout.PROGRAM, -1),
    ],
)
def test_an_address_that_is_not_the_guests_is_refused(memory, address, length):
    for deed in (memory.part, memory.zero):
        with pytest.raises(GuestFault):
            deed(address, length)
    if 0 < length <= 2:
        with pytest.raises(GuestFault):
            memory.put(address, bytes(length))


def test_numbers_are_read_whole_or_not_at_all(memory):
    memory.put(SIZE - 16, specimens.words(1, -1))
    assert memory.words(SIZE - 16, 2) == (1, (1 << 64) - 1)
    assert memory.words(SIZE - 16, 0) == ()
    for address, count in ((SIZE - 15, 2), (SIZE - 16, 3), (layout.PROGRAM, 1 << 61), (layout.PROGRAM, 1 << 64)):
        with pytest.raises(GuestFault):
            memory.words(address, count)


def test_a_string_ends_within_bounds(memory):
    memory.put(SIZE - 5, b"name\0")
    assert memory.text(SIZE - 5) == "name"
    memory.put(SIZE - 5, b"names")
    memory.put(layout.PROGRAM, b"x" * (LONGEST_TEXT + 1))
    memory.put(layout.HEAP_END - 2, b"xx")
    for address in (SIZE - 5, layout.PROGRAM, layout.HEAP_END - 2, SIZE, SIZE + 1, 0, layout.STUB, (1 << 64) - 1):
        with pytest.raises(GuestFault):
            memory.text(address)
    memory.put(layout.HEAP_END - 2, b"y\0")
    assert memory.text(layout.HEAP_END - 2) == "y"


def test_the_host_keeps_its_own_memory_around_the_guests(memory):
    slack = memory._map[: memory._offset], memory._map[memory._offset + SIZE :]
    assert len(slack[1]) >= mmap.PAGESIZE
    control = bytes(memory.view[: layout.CONTROL_END])
    for start, end in ((layout.PROGRAM, layout.HEAP_END), (layout.STACK_START, SIZE)):
        memory.part(start, end - start)[:] = b"\xff" * (end - start)
        memory.zero(start, end - start)
        assert not any(memory.view[start:end])
    assert bytes(memory.view[: layout.CONTROL_END]) == control
    assert (memory._map[: memory._offset], memory._map[memory._offset + SIZE :]) == slack


def test_zeroing_is_exact_at_every_size_and_offset(memory):
    chance = random.Random(5)
    model = bytearray(chance.randbytes(SIZE - layout.STACK_START))
    base = layout.STACK_START
    memory.put(base, model)
    for _ in range(60):
        start = chance.randrange(len(model))
        length = min(
            len(model) - start, chance.choice((0, 1, 4095, 4096, 70000, layout.LARGE - 1, layout.LARGE, 5 << 20))
        )
        memory.zero(base + start, length)
        model[start : start + length] = bytes(length)
        assert memory.part(base, len(model)) == model
        memory.put(base + start, b"x")
        model[start : start + 1] = b"x"


def test_zeroed_memory_is_given_back_to_the_kernel(memory):
    start, length = layout.MAPPINGS, 8 << 20
    memory.put(start, b"x" * length)
    assert resident(memory.address + start, length) == length
    memory.zero(start, length)
    assert resident(memory.address + start, length) == 0


def shared_with_a_file(seed):
    """Memory restored by sharing: until written to, its pages are a snapshot's."""
    old, space = specimens.filled(seed)
    made = specimens.kept("shared", specimens.described(old, space), old)
    memory = GuestMemory(SIZE)
    restore.share(memory, made.descriptor, made.description)
    assert memory.view[layout.PROGRAM :] == old.view[layout.PROGRAM :]
    old.close()
    return memory, made


@pytest.mark.parametrize("seed", range(3))
def test_zeroing_never_brings_back_what_the_snapshot_held(seed):
    memory, made = shared_with_a_file(seed)
    before = os.pread(made.descriptor, 1 << 26, 0)
    chance = random.Random(seed)
    ends = ((layout.PROGRAM, layout.HEAP_END), (layout.STACK_START, SIZE))
    for _ in range(20):
        low, high = chance.choice(ends)
        start = chance.randrange(low, high)
        memory.zero(start, min(high - start, chance.choice((1, 4096, 1 << 20, layout.LARGE, 12 << 20))))
    for low, high in ends:
        memory.zero(low, high - low)
        assert not any(memory.view[low:high])
    assert os.pread(made.descriptor, 1 << 26, 0) == before, "a guest wrote into its snapshot"
    made.close()


def test_zeroing_behind_a_snapshot_costs_no_memory():
    """One large munmap over both must not fill the memory behind it with pages of zeros."""
    memory, made = shared_with_a_file(1)
    assert memory.fixed < SIZE - (8 << 20)
    memory.zero(layout.MAPPINGS, SIZE - layout.MAPPINGS)
    assert not any(memory.view[layout.MAPPINGS :])  # reading maps the one page of zeros, which pagemap counts
    memory.zero(layout.MAPPINGS, SIZE - layout.MAPPINGS)
    assert resident(memory.address + memory.fixed, SIZE - memory.fixed) == 0
    made.close()


def test_memory_is_zero_at_first_and_refused_where_there_is_none(memory):
    assert not any(memory.view[layout.CONTROL_END :])
    assert memory.address % layout.LARGE == 0
    with pytest.raises(MemoryError):
        GuestMemory(1 << 60)


def test_what_is_shared_is_out_of_reach_of_calls_and_bounded():
    with mmap.mmap(-1, layout.PAGE) as shared:
        made = GuestMemory(SIZE, shared)
        for address in (layout.SHARED, layout.SHARED + layout.PAGE - 1):
            with pytest.raises(GuestFault):
                made.part(address, 1)
        made.close()

    class Larger:
        def __len__(self):
            return layout.MOST_SHARED + 1

    with pytest.raises(MemoryError, match="more than a guest can share"):
        GuestMemory(SIZE, Larger())


def test_the_areas_lie_apart_and_in_order():
    places = [layout.CONTROL_END, layout.PROGRAM, layout.HEAP_END, layout.STACK_START, layout.STACK_END]
    assert places == sorted(set(places))
    assert layout.MAPPINGS == layout.STACK_END <= layout.LEAST_MEMORY
    assert layout.STACK_START - layout.HEAP_END == layout.PROGRAM - layout.CONTROL_END == layout.LARGE
    memory = GuestMemory(SIZE)
    space = Space(memory)
    assert space.free == [(layout.MAPPINGS, SIZE)]
    memory.close()
