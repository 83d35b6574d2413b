"""Small guests in machine code, and guests of random bytes, on a real machine that is set anew for each."""

from __future__ import annotations

import fcntl
import random
import signal
import struct
from types import TracebackType

from instar_sandbox.kvm import abi, layout, machine
from instar_sandbox.kvm.machine import Machine
from instar_sandbox.kvm.memory import GuestMemory

CODE = layout.PROGRAM
ENTRY = layout.PROGRAM + layout.PAGE
"""Number and six arguments of the next call, then what the last one was answered."""
WORDS = struct.Struct("<8Q")
LOOP = bytes.fromhex(
    "488b03"  # mov rax, [rbx]
    "488b7b08"  # mov rdi, [rbx+8]
    "488b7310"  # mov rsi, [rbx+16]
    "488b5318"  # mov rdx, [rbx+24]
    "4c8b5320"  # mov r10, [rbx+32]
    "4c8b4328"  # mov r8, [rbx+40]
    "4c8b4b30"  # mov r9, [rbx+48]
    "0f05"  # syscall
    "48894338"  # mov [rbx+56], rax
    "ebdd"  # jmp to the first
)
REACH = len(LOOP)

INSTRUCTIONS = """
0f05 0f05 0f05 e610 e611 e640 e710 e410 e510 ee ef ec ed 6e 6f 6c 6d f36e f36c 66e710
cd00 cd03 cd0e cd10 cd80 cdff cc f1 ce f4 fa fb cf 48cf 480f07 0f07 0f34 0f35 480f35
0f01c1 0f01d9 0f01d8 0f01da 0f01d0 0f01d1 0f01f8 0f01f9 0f01ca 0f01cb 0f01c8 0f01c9 0f01ef
0f30 0f32 0f33 0f31 0fa2 0fc7f0 0fc7f8 0f0100 0f0108 0f0110 0f0118 0f0120 0f0130 0f0138
0f0000 0f0008 0f00d8 0f00d0 0f00c8 0f20c0 0f22c0 0f20d8 0f22d8 0f22e0 0f21c0 0f23c0 0f23f8 0f06 0f08 0f09
8ed8 8ed0 8ee0 8ec0 8ee8 0fa1 0fa9 0fb208 0fb408 0fb508 9d 9c 17 1f
f30faec0 f30faed0 f3480faed0 f3480faed8 f3480faec8 0fae00 0fae08 0fae10 0fae18 0fae20 0fae28 480fae28 0fc708
480fc720 480fc728 0fae38 660fae38 0f1806 0f0d08 0fc3d8 dbe3 dbe2 dd20 d920 d930 c5f877 62f17c4858c0
ff20 ff28 48ff28 ffe0 ffd0 ff10 c3 cb 48cb c20800 ca0800 e800000000 ebfe ebfc f3a4 f3aa f3ab f2a6
48a3ffffffffffffffff 48a10010000000000000 48890425f0ffffff 488b042500f01f00 c60425ffff1f0000 48ab 48ad
660f1f440000 0f0b 0fb9c0 0fff d6 67 66 f0 f2 f3 2e 48 4f 36 64 65 c4 c5 62 8f d50a 27 0f3800 0f3a0f
"""
# system calls and ports; gates and returns; hypervisors' calls; tables and registers of the system; segments and flags;
# state of the processor; jumps and strings; places that are not the guest's; what is no instruction
PIECES = tuple([bytes.fromhex(text) for text in INSTRUCTIONS.split()])


class Stuck(Exception):
    """The guest ran for too long."""


class Patience:
    """Within it, code may take so many seconds; then Stuck is raised."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.active = False

    def __enter__(self) -> Patience:
        signal.signal(signal.SIGALRM, self._late)
        self.active = True
        signal.setitimer(signal.ITIMER_REAL, self.seconds, self.seconds)
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.active = False
        signal.setitimer(signal.ITIMER_REAL, 0)

    def _late(self, *_: object) -> None:
        if self.active:
            self.active = False
            raise Stuck


class Guest:
    """A machine whose processor is put wherever a test wants it."""

    def __init__(self, memory: GuestMemory) -> None:
        self.memory = memory
        self.machine = self._made()
        self.renewed = 0
        self.standing = self.system()
        self.first = self.special()

    def _made(self) -> Machine:
        import os

        kvm = machine.open_device()
        try:
            return Machine(kvm, self.memory)
        finally:
            os.close(kvm)

    def renew(self) -> None:
        """Another machine with the same memory: the last one may be broken."""
        side = self.machine.stays_user
        self.machine.close()
        self.machine = self._made()
        self.machine.stays_user = side
        self.renewed += 1

    def place(self, registers: list[int]) -> None:
        """The processor is a program's, with these registers; nothing that it asked for is pending."""
        self.machine.warm()
        self.machine._set_special()
        words = [word & (1 << 64) - 1 for word in registers]
        fcntl.ioctl(self.machine.vcpu, abi.SET_REGS, abi.REGISTERS.pack(*words))

    def begin(self, address: int) -> None:
        """It will run from here, with a stack."""
        registers = [0] * 18
        registers[abi.RIP], registers[abi.RSP] = address, layout.STACK_END - 64
        registers[abi.RBX], registers[abi.RFLAGS] = ENTRY, machine.FIXED_FLAGS
        self.place(registers)

    def registers(self) -> tuple[int, ...]:
        """As they were at the last exit."""
        return abi.REGISTERS.unpack_from(self.machine._run, abi.RUN_REGS)

    def special(self) -> bytes:
        """struct kvm_sregs."""
        found = bytearray(abi.SPECIAL_SIZE)
        fcntl.ioctl(self.machine.vcpu, abi.GET_SREGS, found)
        return bytes(found)

    def system(self) -> dict[str, object]:
        """What no program may change: control registers, tables, and where system calls land."""
        special = self.special()
        cr0, _, cr3, cr4, cr8, efer, _ = abi.CONTROL.unpack_from(special, abi.SPECIAL_CONTROL)
        wanted = (abi.STAR, abi.LSTAR, abi.SYSCALL_MASK)
        request = bytearray(abi.MSRS.pack(len(wanted), 0) + b"".join(abi.MSR.pack(index, 0, 0) for index in wanted))
        fcntl.ioctl(self.machine.vcpu, abi.GET_MSRS, request)
        return {
            "control registers": tuple(map(hex, (cr0, cr3, cr4, cr8, efer))),
            "tables": task(special),
            "system calls": bytes(request),
        }

    def check(self, said: object) -> None:
        """Nothing of the system's has changed."""
        now = self.system()
        for name, value in self.standing.items():
            assert now[name] == value, f"{name} changed: {value!r} is now {now[name]!r} ({said})"


def task(special: bytes) -> bytes:
    """The task register, and where the tables of descriptors and gates are, of struct kvm_sregs."""
    at = 6 * abi.SEGMENT.size
    return special[at : at + 15] + special[abi.SPECIAL_TABLES : abi.SPECIAL_CONTROL]


def number(value: int) -> bytes:
    """64 bits, as they stand in code."""
    return (value & (1 << 64) - 1).to_bytes(8, "little")


def small(value: int) -> bytes:
    """32 bits, as they stand in code."""
    return value.to_bytes(4, "little")


def leaving(chance: random.Random, rcx: int, r11: int, flags: int) -> tuple[str, bytes]:
    """Code that comes to a system call, or to where it passes for one, in one of many ways; and how."""
    loads = b"\x48\xb9" + number(rcx) + b"\x49\xbb" + number(r11)  # mov rcx, ..; mov r11, ..
    wave = b"\x48\xb8" + number(flags) + b"\x50\x9d"  # mov rax, flags; push rax; popfq
    target = b"\x48\xb8%b\xff\xe0"  # mov rax, ..; jmp rax
    ways = {
        "syscall": b"\x0f\x05",
        **{f"jump to the stub + {at}": target % number(layout.STUB + at) for at in range(6)},
        "jump to the stub's other place": target % number(layout.HIGH + layout.STUB),
        "jump to a handler": target % number(layout.HIGH + layout.HANDLERS + 16 * chance.randrange(32)),
        "jump to a handler below": target % number(layout.HANDLERS),
        "call the stub": b"\x48\xb8" + number(layout.STUB) + b"\xff\xd0",
        "return to the stub": b"\x48\xb8" + number(layout.STUB) + b"\x50\xc3",
        "out": b"\xe6\x10",
        "out to another port": bytes([0xE6, chance.randrange(256)]),
        "out of more bytes": b"\xe7\x10",
        "out by register": b"\x66\xba" + bytes([chance.choice((0x10, chance.randrange(256))), 0]) + b"\xee",
        "out of a string": b"\xba\x10\0\0\0\xbe" + small(CODE) + chance.choice((b"\x6e", b"\xf3\x6e", b"\x6f")),
        "in": bytes([chance.choice((0xE4, 0xE5)), chance.choice((0x10, 0x40, chance.randrange(256)))]),
        "in of a string": b"\xba\x10\0\0\0\xbf" + small(ENTRY) + chance.choice((b"\x6c", b"\xf3\x6c", b"\x6d")),
        "a gate": bytes([0xCD, chance.randrange(256)]),
        "a hypervisor's call": chance.choice((b"\x0f\x01\xc1", b"\x0f\x01\xd9")),
        "a return from an interrupt": b"".join(
            b"\x48\xb8" + number(word) + b"\x50"
            for word in (
                chance.choice((0x2B, 0x18, 0x1B)),
                layout.STACK_END - 64,
                flags,
                chance.choice((0x33, 0x10, 0x23, 0x13)),
                chance.choice((layout.STUB, layout.STUB + 2, rcx, CODE)),
            )
        ) + b"\x48\xcf",
    }  # fmt: skip
    how = chance.choice(("syscall", chance.choice(tuple(ways))))
    return how, (wave if chance.random() < 0.7 else b"") + loads + ways[how]


def garbage(chance: random.Random, length: int) -> bytes:
    """Bytes that a processor stumbles over late."""
    made = bytearray()
    while len(made) < length:
        made += chance.choice(PIECES) if chance.random() < 0.5 else chance.randbytes(chance.randrange(1, 6))
        if chance.random() < 0.05:
            made += (
                b"\x48"
                + bytes([0xB8 + chance.randrange(8)])
                + number(chance.choice((CODE, ENTRY, layout.STUB, 1 << 47)))
            )
    return bytes(made[:length])
