"""What KVM is here, for this user: each fact is looked at now, in the way a guest would need it."""

from __future__ import annotations

import fcntl
import os
from typing import NamedTuple

from instar_sandbox.errors import JailError, NoPlatform, WallError
from instar_sandbox.jail import signals
from instar_sandbox.kvm import abi, identity, layout, machine
from instar_sandbox.kvm.errors import BackendError, GuestEnded
from instar_sandbox.kvm.memory import GuestMemory
from instar_sandbox.report import tried

PATIENCE = 5
"""Seconds until a machine that does not stop is given up."""
FIRST, SECOND, ANSWER = 39, 60, 0x5A5A5A5A
PROGRAM = b"".join(
    [
        b"\xb8" + FIRST.to_bytes(4, "little"),  # mov eax, FIRST
        b"\x0f\x05",  # syscall
        b"\x89\xc7",  # mov edi, eax
        b"\xb8" + SECOND.to_bytes(4, "little"),  # mov eax, SECOND
        b"\x0f\x05",  # syscall
        b"\x0f\x0b",  # ud2
    ]
)
"""Two system calls, the second of which tells what the first was answered."""


class Kvm(NamedTuple):
    """The device and whether it opens; whether a machine runs there; and why not, where something does not.

    `version` is the kernel's API version, 0 where it is not known. `ring` is the privilege level at which `syscall`
    arrives: 0 as the processor has it, 3 with one known backend, None where no machine runs.
    """

    device: str
    opens: bool
    version: int
    backend: str
    vendor: str
    runs: bool
    ring: int | None
    why: str


def report() -> Kvm:
    """KVM as it is on this machine for this user. Nothing stays behind."""
    opens, version, why = _device()
    runs, ring = False, None
    if opens and not why:
        runs, said = tried(_small_machine)
        ring, why = (int(said), "") if runs else (None, said or "a machine ended its process")
        if why == f"ended by signal {ALARM}":
            why = f"a machine did not stop within {PATIENCE} s"
    return Kvm(abi.DEVICE, opens, version, identity.backend(), vendor(), runs, ring, why)


def vendor() -> str:
    """Who made the processor, in its own words; empty where the kernel does not tell."""
    for line in identity.processor().split(b"\n"):
        name, _, value = line.partition(b":")
        if name.strip() == b"vendor_id":
            return value.strip().decode("ascii", "replace")
    return ""


def _device() -> tuple[bool, int, str]:
    """(the device opens, API version, why it cannot be used)."""
    try:
        kvm = os.open(abi.DEVICE, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        return False, 0, f"{abi.DEVICE} cannot be opened: {error.strerror}"
    try:
        version = fcntl.ioctl(kvm, abi.GET_API_VERSION, 0)
    except OSError as error:
        return True, 0, f"{abi.DEVICE} does not answer: {error.strerror}"
    finally:
        os.close(kvm)
    try:
        os.close(machine.open_device())
    except NoPlatform as error:
        return True, version, str(error).removeprefix("no platform: ")
    return True, version, ""


ALARM = 14


def _small_machine() -> str:
    """The privilege level at which `syscall` arrives. In a child of its own. Raises WallError where it does not run."""
    import signal

    signals.reset()
    signal.alarm(PATIENCE)
    try:
        memory = GuestMemory(layout.LEAST_MEMORY)
        memory.put(layout.PROGRAM, PROGRAM)
        small = machine.Machine(machine.open_device(), memory)
        small.start(layout.PROGRAM, layout.STACK_END)
        number, _ = small.next_call()
        small.answer(ANSWER)
        again, (got, *_) = small.next_call()
    except (JailError, BackendError, GuestEnded, MemoryError) as error:
        raise WallError(str(error).removeprefix("no platform: ")) from error
    if (number, again, got) != (FIRST, SECOND, ANSWER):
        raise WallError("a machine computes something else than it was told to")
    return "3" if small.stays_user else "0"
