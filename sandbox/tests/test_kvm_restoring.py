"""A guest's memory is the snapshot's, whichever pages are shared and whichever are copies."""

import importlib.util
import os
import pathlib
import random
import sys

import pytest
from instar_sandbox.errors import NoPlatform
from instar_sandbox.kvm import layout, machine, prepare, rehearsal, restore, snapshot, store
from instar_sandbox.kvm.memory import GuestMemory
from instar_sandbox.kvm.snapshot import Description


def load(name):
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, pathlib.Path(__file__).with_name(f"{name}.py"))
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


specimens = load("kvm_specimens")
LARGE, PAGE = layout.LARGE, layout.PAGE
ALL = [(start, start + LARGE) for start in range(layout.PROGRAM, layout.LEAST_MEMORY, LARGE)]


@pytest.fixture
def kept():
    memory, space = specimens.filled(7)
    made = specimens.kept("restoring", specimens.described(memory, space), memory)
    yield made, bytes(memory.view[layout.PROGRAM :])
    made.close()
    memory.close()


@pytest.fixture(scope="module")
def made():
    try:
        with prepare.make(store.Recipe("restoring", ["json"])) as snapshot:
            yield snapshot
    except NoPlatform as error:
        pytest.skip(f"no guests here: {error}")


@pytest.mark.parametrize("hot", [[], ALL[:1], ALL[-1:], ALL[2:5], ALL[::2], ALL], ids=len)
def test_shared_memory_reads_as_the_snapshot_and_writing_to_it_does_not_change_that(kept, hot) -> None:
    snapshot, content = kept
    before = os.pread(snapshot.descriptor, 1 << 30, 0)
    snapshot.description.hot = hot
    memory = GuestMemory(layout.LEAST_MEMORY)
    restore.share(memory, snapshot.descriptor, snapshot.description)
    assert memory.view[layout.PROGRAM :] == content
    for at in range(layout.PROGRAM, memory.size, 16 * PAGE):
        memory.view[at : at + 1] = b"\xa5"
    assert os.pread(snapshot.descriptor, 1 << 30, 0) == before
    memory.close()


def test_hot_pages_are_copies_and_the_others_are_not(kept) -> None:
    snapshot, _ = kept
    snapshot.description.hot = ALL[::2]
    memory = GuestMemory(layout.LEAST_MEMORY)
    restore.share(memory, snapshot.descriptor, snapshot.description)
    own = {page // LARGE * LARGE for page in rehearsal.written(memory, snapshot.description)}
    stored = {
        at // LARGE * LARGE
        for address, length, _ in snapshot.description.extents
        for at in range(address, address + length, PAGE)
    }
    assert own == {start for start, _ in ALL[::2]} & stored
    assert stored - own
    memory.close()


def test_a_snapshot_cut_inside_a_hot_page_is_damaged(kept) -> None:
    made, _ = kept
    made.description.hot = ALL
    _, length, place = made.description.extents[-1]
    os.ftruncate(made.descriptor, place + length - 1)
    memory = GuestMemory(layout.LEAST_MEMORY)
    with pytest.raises(snapshot.Damaged):
        restore.share(memory, made.descriptor, made.description)
    memory.close()


@pytest.mark.parametrize("seed", range(20))
def test_the_parts_of_a_range_cover_it_in_order_and_are_hot_where_it_is(seed) -> None:
    chance = random.Random(seed)
    cuts = sorted(chance.sample(range(100), 2 * chance.randrange(1, 9)))
    hot = list(zip(cuts[::2], cuts[1::2], strict=True))
    start = chance.randrange(90)
    end = chance.randrange(start + 1, 100)
    parts = list(restore.parts(start, end, hot))
    assert [at for first, last, _ in parts for at in range(first, last)] == list(range(start, end))
    for first, last, own in parts:
        assert first < last
        assert {any(low <= at < high for low, high in hot) for at in range(first, last)} == {own}


def test_the_large_pages_written_to_most_are_hot_and_few_enough() -> None:
    counts = {6 * LARGE: 300, 2 * LARGE: 40, 9 * LARGE: 41, 4 * LARGE: rehearsal.MANY - 1, 3 * LARGE: 100}
    pages = [start + at * PAGE for start, count in counts.items() for at in range(count)]
    random.Random(1).shuffle(pages)
    found = rehearsal.hot(pages)
    assert found == [(start, start + LARGE) for start in (3 * LARGE, 6 * LARGE, 9 * LARGE)]
    assert sum(end - start for start, end in found) <= rehearsal.MOST_HOT
    assert rehearsal.hot([4 * LARGE]) == rehearsal.hot([]) == []


def test_a_rehearsal_finds_what_a_guest_writes_to(made) -> None:
    description = made.description
    assert all(start % LARGE == 0 and end - start == LARGE for start, end in description.hot)
    kvm = machine.open_device()
    guest, memory, _ = restore.restore(kvm, prepare.build.MEMORY // 2, made.descriptor, Cold(description))
    assert rehearsal.written(memory, description) == []
    memory.view[description.extents[0][0]] = 1
    assert rehearsal.written(memory, description) == [description.extents[0][0]]
    guest.close()
    memory.close()
    found = Cold(description)
    rehearsal.rehearse(kvm, made.descriptor, found)
    os.close(kvm)
    if not os.access(rehearsal.PAGEMAP, os.R_OK):
        pytest.skip("the kernel does not tell which pages are a process's own")
    assert found.hot == description.hot
    assert found.hot


class Cold(Description):
    """The same without hot pages."""

    def __init__(self, other: Description) -> None:
        for name in Description.__slots__:
            setattr(self, name, getattr(other, name))
        self.large, self.hot = False, []


@pytest.mark.parametrize("large", [False, True])
def test_a_guest_computes_the_same_however_it_is_restored(made, large) -> None:
    before = made.description.large
    made.description.large = large
    assert prepare.tried(made) > 0
    made.description.large = before


def test_a_guest_is_told_of_the_processor_what_it_was_told_when_it_booted(made) -> None:
    kvm = machine.open_device()
    assert machine.leaf(made.description.features, 1)[3] == machine.leaf(machine.supported(kvm), 1)[3] != 0
    guest, memory, _ = restore.restore(kvm, prepare.build.MEMORY // 2, made.descriptor, made.description)
    assert guest.features == made.description.features
    guest.close()
    memory.close()
    os.close(kvm)
