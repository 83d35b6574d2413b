"""Making a snapshot: the interpreter that is running boots in a guest, imports a recipe, and is sealed."""

from __future__ import annotations

import os
import sys

from instar_sandbox.kvm import elf, snapshot
from instar_sandbox.kvm.allow import LOADER_CACHE, SYSTEM_LIBRARIES, AllowList, mapped_directories
from instar_sandbox.kvm.boot import BootCalls
from instar_sandbox.kvm.errors import BackendError, GuestEnded, GuestExited, GuestWaits
from instar_sandbox.kvm.machine import Machine
from instar_sandbox.kvm.memory import GuestMemory
from instar_sandbox.kvm.snapshot import Description
from instar_sandbox.kvm.space import Space, up

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

MEMORY = 1 << 30
"""Bytes of the guest that boots; what it did not touch is not part of the snapshot."""

ENVIRONMENT = {
    "INSTAR_SANDBOX_GUEST": "1",
    "LC_ALL": "C.UTF-8",
    "PATH": "/usr/bin:/bin",
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "GLIBC_TUNABLES": "glibc.malloc.top_pad=1048576:glibc.malloc.mmap_threshold=33554432"
    ":glibc.malloc.trim_threshold=1073741824",
}
"""Whatever the caller's says. Freed memory stays with the allocator: giving it back would cost exits and zeroing."""

START = "import sys; sys.path[:] = {path!r}; from instar_sandbox.kvm.guest import main; main({modules!r})"


def interpreter() -> str:
    """The program that this process runs, behind all links and virtual environments."""
    return os.path.realpath(getattr(sys, "_base_executable", "") or sys.executable)


def allow_list(path: Sequence[str]) -> AllowList:
    """The interpreter's library, the places of modules, and shared libraries."""
    places = {sys.base_prefix + "/lib", os.path.dirname(os.__file__), *path, *mapped_directories(), *SYSTEM_LIBRARIES}
    return AllowList(places, (interpreter(), LOADER_CACHE))


def build(
    kvm: int, modules: Sequence[str], path: Sequence[str], identity: tuple[Any, ...], descriptor: int
) -> Description:
    """A snapshot of a guest that has imported the modules, written to the descriptor. Raises BackendError."""
    memory = GuestMemory(MEMORY)
    machine = None
    calls = None
    try:
        machine = Machine(kvm, memory)
        space = Space(memory)
        memory.large(0, MEMORY)
        allowed = allow_list(path)
        calls = BootCalls(memory, space, machine, allowed)
        _load(machine, memory, space, allowed, START.format(path=list(path), modules=list(modules)))
        made = _boot(machine, calls)
        made.free, made.heap = space.free, space.heap
        made.extents = [(address, length, 0) for address, length in snapshot.extents(memory, space)]
        made.files, made.identity = allowed.opened, identity
        made.large = made.tested = False
        made.features = machine.features
        snapshot.write(descriptor, made, memory)
        return made
    finally:
        if calls is not None:
            calls.finish()
        if machine is not None:
            machine.close()
        memory.close()


def _load(machine: Machine, memory: GuestMemory, space: Space, allowed: AllowList, code: str) -> None:
    """The interpreter is in memory, and the machine stands where it starts."""
    name = interpreter()
    program = _load_file(name, allowed, memory, space, program=True)
    space.heap = (up(program.end), up(program.end))
    entry, base = program.entry, 0
    if program.interpreter:
        loader = _load_file(program.interpreter, allowed, memory, space, program=False)
        entry, base = loader.entry, loader.base
    arguments = (name, "-I", "-S", "-B", "-X", "utf8", "-c", code)
    machine.start(entry, elf.stack(memory, arguments, ENVIRONMENT, program, base))


def _load_file(name: str, allowed: AllowList, memory: GuestMemory, space: Space, *, program: bool) -> elf.Loaded:
    descriptor = allowed.open(name)
    if descriptor is None:
        raise BackendError(f"{name} cannot be read")
    try:
        return elf.load(descriptor, memory, space, program=program)
    finally:
        os.close(descriptor)


def _boot(machine: Machine, calls: BootCalls) -> Description:
    """The guest runs until it waits for its channel; its state then."""
    made = Description()
    try:
        while True:
            number, arguments = machine.next_call()
            machine.answer(calls.answer(number, arguments))
    except GuestWaits:
        made.call = number, arguments
    except GuestEnded as error:
        said = calls.said.decode("utf-8", "replace").strip().rpartition("\n")[2]
        why = said or f"status {error.code}" if isinstance(error, GuestExited) else str(error)
        raise BackendError(f"the guest did not come up: {why}") from error
    made.stays_user = bool(machine.stays_user)
    made.registers, made.special, made.extended = machine.state()
    return made
