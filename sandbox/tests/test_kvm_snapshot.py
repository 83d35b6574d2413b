"""A snapshot gives back what it was made of, or says that it is damaged: never anything else."""

import importlib.util
import os
import pathlib
import random
import sys

import pytest
from instar_sandbox.kvm import layout, restore, snapshot, store
from instar_sandbox.kvm.memory import GuestMemory
from instar_sandbox.kvm.snapshot import Damaged, Description
from instar_sandbox.kvm.space import Space


def load(name):
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, pathlib.Path(__file__).with_name(f"{name}.py"))
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


specimens = load("kvm_specimens")
SIZE = layout.LEAST_MEMORY
PAGE = layout.PAGE


@pytest.fixture(scope="module")
def whole():
    """(a good snapshot, its bytes, the memory it was made of)."""
    memory, space = specimens.filled(1)
    made = specimens.kept("whole", specimens.described(memory, space, ("identity", 1, b"2")), memory)
    content = os.pread(made.descriptor, 1 << 30, 0)
    yield made, content, bytes(memory.view)
    made.close()
    memory.close()


@pytest.fixture
def file():
    descriptor = store.memory_file("damaged")
    yield descriptor
    os.close(descriptor)


def warmed(memory, descriptor, description):
    """As share(), with a part of the program and of the mappings copied."""
    description.hot = [
        (layout.PROGRAM, layout.PROGRAM + layout.LARGE),
        (layout.MAPPINGS, layout.MAPPINGS + layout.LARGE),
    ]
    restore.share(memory, descriptor, description)
    description.hot = []


WAYS = [restore.copy, restore.share, warmed]


def opened(descriptor):
    """As find() does: the description and the pages. Raises Damaged."""
    description = snapshot.read(descriptor)
    snapshot.verify(descriptor, description)
    return description


@pytest.mark.parametrize("seed", range(5))
def test_extents_hold_all_that_is_not_zero(seed):
    memory, space = specimens.filled(seed)
    found = snapshot.extents(memory, space)
    assert found == sorted(found)
    end = 0
    for address, length in found:
        assert address % snapshot.GRANULE == 0
        assert address > end or not end, "extents that touch are one"
        end = address + length
    copy = bytearray(SIZE)
    for address, length in found:
        copy[address : address + length] = memory.view[address : address + length]
        for at in range(address, address + length, snapshot.GRANULE):
            assert any(memory.view[at : at + snapshot.GRANULE]), "a granule of zeros is kept"
    copy[: layout.CONTROL_END] = memory.view[: layout.CONTROL_END]
    assert copy == memory.view
    memory.close()


def test_nothing_of_the_control_area_is_in_a_snapshot(whole):
    assert min(address for address, _, _ in whole[0].description.extents) >= layout.PROGRAM


@pytest.mark.parametrize("way", WAYS)
def test_what_is_written_is_read(whole, way):
    made, _, before = whole
    description = opened(made.descriptor)
    for name in Description.__slots__:
        assert getattr(description, name) == getattr(made.description, name), name
    assert description.size == sum(length for _, length, _ in description.extents)
    for _, _, place in description.extents:
        assert place % PAGE == 0
    memory = GuestMemory(SIZE)
    way(memory, made.descriptor, description)
    assert memory.view == before
    memory.close()


@pytest.mark.parametrize("way", WAYS)
def test_a_guest_that_writes_changes_neither_the_snapshot_nor_another_guest(whole, way):
    made, content, before = whole
    one, other = GuestMemory(SIZE), GuestMemory(SIZE)
    for memory in (one, other):
        way(memory, made.descriptor, made.description)
    one.part(layout.PROGRAM, 1 << 20)[:] = b"\xee" * (1 << 20)
    one.part(layout.MAPPINGS, 1 << 20)[:] = b"\xee" * (1 << 20)
    assert other.view == before
    assert os.pread(made.descriptor, 1 << 30, 0) == content
    one.close()
    other.close()


def test_a_description_of_any_length_leaves_its_pages_alone(file):
    memory, space = specimens.filled(2)
    lengths = set()
    for names in (0, 1, *range(40, 130, 7), 2000):
        files = {f"/a/file/of/some/name/{number}": (number, number, number) for number in range(names)}
        made = specimens.described(memory, space, files=files)
        os.ftruncate(file, 0)
        snapshot.write(file, made, memory)
        description = opened(file)
        assert description.files == files
        lengths.add(description.extents[0][2])
        description.tested = not description.tested
        description.large = not description.large
        snapshot.rewrite(file, description)
        again = opened(file)
        assert (again.tested, again.large) == (description.tested, description.large)
    assert len(lengths) > 2
    memory.close()


def test_every_cut_is_found(whole, file):
    _, content, _ = whole
    cuts = [*range(0, len(content), PAGE), 1, 7, 8, 19, 20, 21, PAGE - 1, PAGE + 1, len(content) - 1]
    assert len(cuts) > 200
    os.pwrite(file, content, 0)
    assert opened(file)
    for length in sorted(cuts, reverse=True):
        os.ftruncate(file, length)
        with pytest.raises(Damaged):  # before any page is looked at: one that is missing must never be mapped
            snapshot.read(file)


def test_every_page_of_zeros_is_found(whole, file):
    made, content, _ = whole
    os.pwrite(file, content, 0)
    first = made.description.extents[0][2]
    for at in [0, *range(first, len(content), 16 * PAGE)]:
        page = content[at : at + PAGE]
        os.pwrite(file, bytes(len(page)), at)
        if any(page):
            with pytest.raises(Damaged):
                opened(file)
        os.pwrite(file, page, at)
    assert opened(file)


def flipped(file, content, bit):
    os.pwrite(file, bytes([content[bit // 8] ^ 1 << bit % 8]), bit // 8)


def test_every_bit_of_the_head_counts(whole, file):
    _, content, _ = whole
    os.pwrite(file, content, 0)
    for bit in range(8 * snapshot.HEAD.size):
        flipped(file, content, bit)
        with pytest.raises(Damaged):
            snapshot.read(file)
        os.pwrite(file, content[: snapshot.HEAD.size], 0)


@pytest.mark.parametrize("seed", range(2))
def test_any_flipped_bit_of_description_or_pages_is_found(whole, file, seed):
    print(f"seed {seed}")
    made, content, _ = whole
    chance = random.Random(seed)
    os.pwrite(file, content, 0)
    body = snapshot.HEAD.size + int.from_bytes(content[16:20], "little")
    pages = made.description.extents[0][2]
    places = [chance.randrange(snapshot.HEAD.size, body) for _ in range(300)]
    places += [chance.randrange(pages, len(content)) for _ in range(60)]
    for place in places:
        flipped(file, content, 8 * place + chance.randrange(8))
        with pytest.raises(Damaged):
            opened(file)
        os.pwrite(file, content[place : place + 1], place)
    assert opened(file)


@pytest.mark.parametrize("seed", range(2))
def test_any_bytes_in_place_of_a_snapshot_are_found(whole, file, seed):
    print(f"seed {seed}")
    _, content, _ = whole
    chance = random.Random(seed)
    for _ in range(150):
        os.ftruncate(file, 0)
        kind = chance.randrange(4)
        if kind == 0:
            made = chance.randbytes(chance.randrange(1, 9000))
        elif kind == 1:
            made = content[: snapshot.HEAD.size] + chance.randbytes(9000)
        elif kind == 2:
            made = snapshot.HEAD.pack(
                snapshot.MAGIC, snapshot.VERSION, chance.getrandbits(32), chance.choice((0, 1, 5000, 1 << 24, 1 << 31))
            ) + chance.randbytes(6000)
        else:
            at = chance.randrange(len(content))
            made = content[:at] + chance.randbytes(17) + content[at + 16 :]
        os.pwrite(file, made, 0)
        with pytest.raises(Damaged):
            opened(file)


def test_another_version_is_not_read(whole, file):
    _, content, _ = whole
    magic, version, checksum, length = snapshot.HEAD.unpack_from(content)
    os.pwrite(file, content, 0)
    for head in ((magic, version + 1, checksum, length), (b"instarkw", version, checksum, length)):
        os.pwrite(file, snapshot.HEAD.pack(*head), 0)
        with pytest.raises(Damaged, match="version"):
            snapshot.read(file)


def test_a_description_without_pages_is_damaged(file):
    """As is one that lacks a field, or is no description at all: checksums alone would let them through."""
    import marshal
    import zlib

    memory, space = specimens.filled(3)
    good = specimens.described(memory, space)
    snapshot.write(file, good, memory)
    fields = marshal.loads(snapshot.dump(snapshot.read(file)))
    lacking = [{name: value for name, value in fields.items() if name != gone} for gone in fields]
    bodies = [*map(marshal.dumps, [*lacking, {**fields, "extents": []}, None, 7, [], {}]), b"", b"\xff", b"{"]
    for body in bodies:
        os.pwrite(file, snapshot.HEAD.pack(snapshot.MAGIC, snapshot.VERSION, zlib.crc32(body), len(body)) + body, 0)
        with pytest.raises(Damaged):
            opened(file)
    memory.close()


def test_a_guest_needs_room_for_all_that_is_taken_even_where_it_is_zero():
    memory, space = specimens.filled(4)
    place = space.take(8 << 20)
    assert place is not None
    made = specimens.described(memory, space)
    assert made.extents[-1][0] < place + (4 << 20)
    assert made.top >= place + (8 << 20), "a smaller guest would lack memory that it owns"
    space.give(place, 8 << 20)
    made = specimens.described(memory, space)
    assert made.top < place + (8 << 20)
    memory.close()


def test_copying_a_snapshot_that_shrinks_meanwhile_is_damage(whole, file):
    _, content, _ = whole
    os.pwrite(file, content, 0)
    description = opened(file)
    os.ftruncate(file, len(content) - 3 * PAGE)
    memory = GuestMemory(SIZE)
    with pytest.raises(Damaged):
        restore.copy(memory, file, description)
    memory.close()


def test_memory_that_is_full_is_kept_whole(file):
    memory = GuestMemory(SIZE)
    space = Space(memory)
    place = space.take(SIZE - layout.MAPPINGS)
    assert (place, space.free) == (layout.MAPPINGS, [])
    memory.put(SIZE - 1, b"x")
    made = specimens.described(memory, space)
    assert made.free == []
    made.free = [(SIZE, SIZE)]  # the last range is what lies behind all that is taken
    snapshot.write(file, made, memory)
    assert opened(file).top == SIZE
    memory.close()
