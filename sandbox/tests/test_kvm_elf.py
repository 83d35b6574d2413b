"""Programs in a guest's memory: what is loaded where, what is refused, and what stands on the stack."""

import importlib.util
import pathlib
import struct
import sys

import pytest
from instar_sandbox.kvm import elf, layout
from instar_sandbox.kvm.errors import BackendError
from instar_sandbox.kvm.memory import GuestMemory
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


def loaded(tmp_path, memory, content, *, program=True, space=None):
    with open(specimens.file_with(tmp_path / "program", content), "rb") as file:
        return elf.load(file.fileno(), memory, space or Space(memory), program=program)


def test_a_program_lies_at_its_place(tmp_path, memory):
    content = specimens.program(
        segments=(
            (elf.LOAD, 5, 0, 0, 0, 0x300, 0x300, 4096),
            (elf.LOAD, 6, 0x400, 0x1400, 0x1400, 0x80, 0x2000, 4096),
            (elf.INTERPRETER, 4, 0x500, 0, 0, 20, 20, 1),
        ),
        entry=0x123,
    )
    content = content[:0x500] + b"/lib/loader".ljust(20, b"\0") + content[0x514:]
    got = loaded(tmp_path, memory, content)
    base = layout.PROGRAM
    assert (got.base, got.entry, got.headers, got.count) == (base, base + 0x123, base + 64, 3)
    assert (got.end, got.interpreter) == (base + 0x3400, "/lib/loader")
    assert bytes(memory.part(base, 0x300)) == content[:0x300]
    assert bytes(memory.part(base + 0x1400, 0x80)) == content[0x400:0x480]
    assert not any(memory.part(base + 0x300, 0x1100))
    assert not any(memory.part(base + 0x1480, 0x2000))


def test_a_program_for_a_fixed_place_lies_there(tmp_path, memory):
    place = layout.PROGRAM + 0x8000
    content = specimens.program(
        kind=elf.FIXED, entry=place, segments=((elf.LOAD, 5, 0, place, place, 0x200, 0x200, 4096),)
    )
    got = loaded(tmp_path, memory, content)
    assert (got.base, got.entry, got.headers, got.end) == (0, place, place + 64, place + 0x200)
    assert bytes(memory.part(place, 0x200)) == content[:0x200]


def test_a_loader_is_a_mapping(tmp_path, memory):
    space = Space(memory)
    got = loaded(tmp_path, memory, specimens.program(), program=False, space=space)
    assert got.base == layout.MAPPINGS
    assert got.entry == got.base + 0x40
    assert space.free == [(layout.MAPPINGS + 0x3000, SIZE)]


LOAD = elf.LOAD
REFUSED = {
    "an empty file": b"",
    "a short head": specimens.program()[:63],
    "no ELF": b"#!/bin/sh\n".ljust(4096),
    "32 bits": specimens.program(identity=b"\x7fELF\x01\x01\x01"),
    "big-endian": specimens.program(identity=b"\x7fELF\x02\x02\x01"),
    "another processor": specimens.program(machine=183),
    "an object file": specimens.program(kind=1),
    "a core": specimens.program(kind=4),
    "headers of another size": specimens.program(segment_size=32),
    "no segments": specimens.program(segments=()),
    "nothing to load": specimens.program(segments=((6, 4, 0, 0, 0, 64, 64, 8),)),
    "headers behind the end": specimens.program(table=0x2000),
    "headers cut short": specimens.program(table=0x1000 - 20),
    "headers at no place of a file": specimens.program(table=(1 << 64) - 64),
    "more headers than the file has": specimens.program(count=0xFFFF),
    "larger than the heap's area": specimens.program(segments=((LOAD, 5, 0, 0, 0, 16, layout.HEAP_END, 1),)),
    "a huge size": specimens.program(segments=((LOAD, 5, 0, 0, 0, 16, (1 << 64) - 1, 1),)),
    "a huge address": specimens.program(segments=((LOAD, 5, 0, (1 << 64) - 4096, 0, 16, 16, 1),)),
    "a huge stored size": specimens.program(segments=((LOAD, 5, 0, 0, 0, 1 << 63, 1 << 63, 1),)),
    "more stored than wanted": specimens.program(segments=((LOAD, 5, 0, 0, 0, 0x300, 0x200, 1),)),
    "far more stored than wanted": specimens.program(segments=((LOAD, 5, 0, 0, 0, 1 << 63, 0x200, 1),)),
    "stored beyond the file": specimens.program(segments=((LOAD, 5, 0xF00, 0, 0, 0x200, 0x200, 1),)),
    "stored at no place of a file": specimens.program(segments=((LOAD, 5, 1 << 63, 0, 0, 0x200, 0x200, 1),)),
    "in the control area": specimens.program(kind=elf.FIXED, segments=((LOAD, 5, 0, layout.STUB, 0, 0x200, 0x200, 1),)),
    "below the program's place": specimens.program(
        kind=elf.FIXED, segments=((LOAD, 5, 0, layout.PROGRAM - 4096, 0, 0x200, 0x200, 1),)
    ),
    "in the stack": specimens.program(kind=elf.FIXED, segments=((LOAD, 5, 0, layout.STACK_START, 0, 0x200, 0x200, 1),)),
    "with a loader whose name is too long": specimens.program(
        segments=((LOAD, 5, 0, 0, 0, 0x200, 0x200, 1), (elf.INTERPRETER, 4, 0, 0, 0, 1 << 63, 0, 1))
    ),
    "with a loader named beyond the file": specimens.program(
        segments=((LOAD, 5, 0, 0, 0, 0x200, 0x200, 1), (elf.INTERPRETER, 4, 1 << 63, 0, 0, 20, 20, 1))
    ),
}


@pytest.mark.parametrize("content", REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_loaded_is_refused(tmp_path, memory, content):
    with pytest.raises(BackendError):
        loaded(tmp_path, memory, content)


def test_a_loader_for_a_fixed_place_is_refused(tmp_path, memory):
    place = layout.MAPPINGS
    content = specimens.program(kind=elf.FIXED, segments=((LOAD, 5, 0, place, place, 0x200, 0x200, 4096),))
    with pytest.raises(BackendError):
        loaded(tmp_path, memory, content, program=False)


def test_a_loader_that_does_not_fit_is_refused(tmp_path, memory):
    content = specimens.program(segments=((LOAD, 5, 0, 0, 0, 0x200, SIZE, 4096),))
    with pytest.raises(BackendError):
        loaded(tmp_path, memory, content, program=False)


def test_the_running_interpreter_can_be_loaded():
    from instar_sandbox.kvm import build

    memory = GuestMemory(256 << 20)
    space = Space(memory)
    with open(build.interpreter(), "rb") as file:
        got = elf.load(file.fileno(), memory, space, program=True)
    assert layout.PROGRAM <= got.entry < got.end <= layout.HEAP_END
    assert got.interpreter.startswith("/")
    assert bytes(memory.part(got.headers, 4)) == bytes([6, 0, 0, 0]), "the first header tells where they all are"
    memory.close()


@pytest.mark.parametrize("arguments", [(), ("a",), ("a", "bc"), ("x" * 100, "", "é")])
@pytest.mark.parametrize("environment", [{}, {"A": "1"}, {"A": "1", "LONG": "y" * 1000}])
def test_a_stack_is_what_the_interface_says(memory, arguments, environment):
    arguments = ("program", *arguments)
    program = elf.Loaded(layout.PROGRAM, layout.PROGRAM + 0x40, layout.PROGRAM + 64, 9, layout.PROGRAM + 4096, "")
    pointer = elf.stack(memory, arguments, environment, program, 0x123000)
    assert pointer % 16 == 0
    assert layout.STACK_START < pointer < layout.STACK_END

    at = pointer

    def word():
        nonlocal at
        (found,) = struct.unpack("<Q", memory.part(at, 8))
        at += 8
        return found

    assert word() == len(arguments)
    assert tuple(memory.text(word()) for _ in arguments) == arguments
    assert word() == 0
    assert [memory.text(word()) for _ in environment] == [f"{name}={value}" for name, value in environment.items()]
    assert word() == 0
    found = {}
    while True:
        key, value = word(), word()
        if not key:
            break
        assert key not in found
        found[key] = value
    assert found[elf.AT_PHDR] == program.headers
    assert (found[elf.AT_PHENT], found[elf.AT_PHNUM]) == (56, 9)
    assert (found[elf.AT_PAGESZ], found[elf.AT_BASE], found[elf.AT_ENTRY]) == (4096, 0x123000, program.entry)
    assert found[elf.AT_SECURE] == 0
    assert memory.text(found[elf.AT_EXECFN]) == "program"
    assert memory.text(found[elf.AT_PLATFORM]) == "x86_64"
    assert found[elf.AT_RANDOM] >= at, "the words stand below the bytes"
    assert len(memory.part(found[elf.AT_RANDOM], 16)) == 16
    assert not any(memory.part(layout.STACK_START, pointer - layout.STACK_START))
