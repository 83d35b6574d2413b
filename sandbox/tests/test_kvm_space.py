"""Which addresses of a guest are taken: against a model that keeps every page."""

import importlib.util
import pathlib
import random
import sys
import time

import pytest
from instar_sandbox.kvm import layout
from instar_sandbox.kvm.memory import GuestMemory
from instar_sandbox.kvm.space import Space, up


def load(name):
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, pathlib.Path(__file__).with_name(f"{name}.py"))
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


SIZE = layout.LEAST_MEMORY
PAGE = layout.PAGE
FIRST, LAST = layout.MAPPINGS // PAGE, SIZE // PAGE


@pytest.fixture
def memory():
    made = GuestMemory(SIZE)
    yield made
    made.close()


@pytest.fixture
def space(memory):
    return Space(memory)


class Pages:
    """The same as a Space, page by page: the set of those that are free."""

    def __init__(self):
        self.free = set(range(FIRST, LAST))

    def take(self, length):
        count, run = up(length) // PAGE, 0
        for page in range(FIRST, LAST):
            run = run + 1 if page in self.free else 0
            if run == count:
                start = page - count + 1
                self.free -= set(range(start, page + 1))
                return start * PAGE
        return None

    def inside(self, start, length):
        return start % PAGE == 0 and start // PAGE >= FIRST and start + up(length) <= SIZE

    def take_at(self, start, length):
        if not self.inside(start, length):
            return False
        self.free -= set(range(start // PAGE, (start + up(length)) // PAGE))
        return True

    def give(self, start, length):
        if length <= 0 or not self.inside(start, length):
            return False
        self.free |= set(range(start // PAGE, (start + up(length)) // PAGE))
        return True

    def grow(self, start, old, new):
        more = set(range((start + up(old)) // PAGE, (start + up(new)) // PAGE))
        if more and (not more <= self.free or min(more) - 1 in self.free):  # the latter is no mapping at all
            return False
        self.free -= more
        return True

    def ranges(self):
        found = []
        for page in sorted(self.free):
            if found and found[-1][1] == page * PAGE:
                found[-1] = found[-1][0], (page + 1) * PAGE
            else:
                found.append((page * PAGE, (page + 1) * PAGE))
        return found


def complement(ranges):
    at, found = layout.MAPPINGS, []
    for start, end in ranges:
        if start > at:
            found.append((at, start))
        at = end
    return [*found, (at, SIZE)] if at < SIZE else found


def lengths(chance):
    return chance.choice((1, PAGE - 1, PAGE, PAGE + 1, 3 * PAGE, chance.randrange(1, 1 << 20), 4 << 20))


def places(chance):
    page = chance.choice((FIRST, LAST - 1, LAST, chance.randrange(FIRST, LAST)))
    return page * PAGE + chance.choice((0, 0, 0, 0, 0, 1, -PAGE))


@pytest.mark.parametrize("seed", range(6))
def test_a_space_is_a_set_of_pages(memory, space, seed):
    print(f"seed {seed}")
    chance, model = random.Random(seed), Pages()
    taken = []
    for step in range(400):
        deed = chance.choice(("take", "take", "take", "give", "give", "give", "take_at", "grow"))
        if deed == "take":
            arguments = (lengths(chance),)
        elif deed == "grow":
            start, old = chance.choice(taken) if taken else (layout.MAPPINGS, PAGE)
            arguments = start, old, old + chance.choice((0, 1, PAGE, 5 * PAGE, chance.randrange(1 << 20)))
        elif deed == "give" and taken and chance.random() < 0.7:
            arguments = taken.pop(chance.randrange(len(taken)))
        else:
            arguments = places(chance), lengths(chance)
        got, wanted = getattr(space, deed)(*arguments), getattr(model, deed)(*arguments)
        assert got == wanted, (step, deed, arguments)
        assert space.free == model.ranges(), (step, deed, arguments)
        if deed == "take" and got is not None:
            taken.append((got, arguments[0]))
            assert not any(memory.part(got, arguments[0])), "fresh memory is not zero"
            memory.part(got, arguments[0])[-1:] = b"x"  # at most one page each: what a guest writes
            memory.part(got, arguments[0])[:1] = b"x"
        elif deed == "take_at" and got:
            assert not any(memory.part(*arguments))
            memory.put(arguments[0], b"x")
        assert space.used()[2:] == complement(model.ranges())
    for start, end in space.free:
        assert not any(memory.part(start, end - start)), "free memory is not zero"


def test_the_first_room_that_is_large_enough_is_taken(space):
    first, second, third = (space.take(3 * PAGE) for _ in range(3))
    assert (first, second, third) == tuple(layout.MAPPINGS + 3 * PAGE * index for index in range(3))
    space.give(first, 3 * PAGE)
    assert space.take(4 * PAGE) == third + 3 * PAGE
    assert space.take(1) == first
    assert space.take(2 * PAGE) == first + PAGE
    assert space.take(SIZE) is None
    space.give(layout.MAPPINGS, SIZE - layout.MAPPINGS)
    assert space.free == [(layout.MAPPINGS, SIZE)]
    assert space.take(SIZE - layout.MAPPINGS) == layout.MAPPINGS
    assert space.free == []
    assert space.take(1) is None


@pytest.mark.parametrize(
    ("start", "length"),
    [
        (layout.MAPPINGS - PAGE, PAGE),
        (layout.MAPPINGS - PAGE, 2 * PAGE),
        (layout.PROGRAM, PAGE),
        (0, PAGE),
        (0, 1 << 64),
        (layout.MAPPINGS + 1, PAGE),
        (SIZE - PAGE, PAGE + 1),
        (SIZE, PAGE),
        (layout.MAPPINGS, SIZE),
        (layout.MAPPINGS, (1 << 64) - 1),
        (-PAGE & (1 << 64) - 1, PAGE),
    ],
)
def test_what_is_no_mapping_is_neither_taken_nor_given(memory, space, start, length):
    memory.put(layout.PROGRAM, b"program")
    assert not space.take_at(start, length)
    assert not space.give(start, length)
    assert space.free == [(layout.MAPPINGS, SIZE)]
    assert bytes(memory.part(layout.PROGRAM, 7)) == b"program"


def test_nothing_is_given_by_no_length(space):
    place = space.take(PAGE)
    assert not space.give(place, 0)
    assert not space.give(place, -1)
    assert space.free[0][0] == place + PAGE


def test_a_mapping_grows_within_its_last_page_even_when_nothing_behind_it_is_free(space):
    first, _ = space.take(PAGE), space.take(PAGE)
    assert not space.grow(first, PAGE, PAGE + 1)
    assert space.grow(first, 1, PAGE)
    assert space.free == [(first + 2 * PAGE, SIZE)]


def test_the_heap_grows_zero_and_stays_within_its_area(memory, space):
    start = layout.PROGRAM + 3 * PAGE
    space.heap = start, start
    assert space.set_heap(0) == start
    assert space.set_heap(start - 1) == start
    assert space.set_heap(start + 100) == start + 100
    memory.put(start, b"x" * 100)
    assert space.set_heap(start + 10) == start + 10
    assert bytes(memory.part(start, 100)) == b"x" * 10 + bytes(90)
    assert space.set_heap(layout.HEAP_END) == layout.HEAP_END
    for end in (layout.HEAP_END + 1, SIZE, (1 << 64) - 1, start - PAGE):
        assert space.set_heap(end) == layout.HEAP_END
    assert space.used()[0] == (layout.PROGRAM, layout.HEAP_END)
    assert space.set_heap(start + 1) == start + 1
    assert space.used()[0] == (layout.PROGRAM, start + PAGE)
    assert not any(memory.part(start + 10, layout.HEAP_END - start - 10))


def test_giving_costs_no_more_when_free_memory_is_in_many_pieces():
    """The time of one munmap does not grow with the pieces: a guest that makes them many stalls only itself."""
    size = 1 << 30
    memory = GuestMemory(size)
    space = Space(memory)
    assert space.take(size - layout.MAPPINGS) == layout.MAPPINGS
    places = range(layout.MAPPINGS, size, 2 * PAGE)
    space.free = [(place, place + PAGE) for place in places if place % (64 * PAGE)]
    count = len(space.free)
    assert count > 120_000
    began = time.process_time()
    missing = [place for place in places if not place % (64 * PAGE)]
    for place in missing:
        space.give(place, PAGE)
    each = (time.process_time() - began) / len(missing)
    assert space.free == [(place, place + PAGE) for place in places]
    assert each < 0.002, f"{each * 1000:.2f} ms each"
    memory.close()
