"""Machine code of x86-64, put together from mnemonics of our own. Source: Intel 64 and AMD64 manuals, volume 2 and 3.

Every piece is called as a C function without arguments; one that survives its instruction returns what is in rax.
"""

from __future__ import annotations

STUB = 0x1FF000
"""Where system calls land in a guest: the one page that user code shares with the privileged."""
RETURN = b"\xc3"
SYSCALL = b"\x0f\x05"
WORD = (1 << 64) - 1
REGISTERS = {
    "rax": b"\x48\xb8",
    "rcx": b"\x48\xb9",
    "rdx": b"\x48\xba",
    "rsp": b"\x48\xbc",
    "rsi": b"\x48\xbe",
    "rdi": b"\x48\xbf",
    "r11": b"\x49\xbb",
}
GETPID = 39
SAVE_STACK, LOAD_STACK = b"\x49\x89\xe0", b"\x4c\x89\xc4"
"""mov r8, rsp and back."""
READ_CS_32, CODE_0, DATA_0, TASK, NOBODYS = 0x23, 0x10, 0x18, 0x40, 0x7B
TRAP, INTERRUPTS, PORTS, NESTED, ALIGNMENT = 1 << 8, 1 << 9, 3 << 12, 1 << 14, 1 << 18


def put(**values: int) -> bytes:
    """mov register, immediate, for each."""
    return b"".join(REGISTERS[name] + (value & WORD).to_bytes(8, "little") for name, value in values.items())


def push(value: int) -> bytes:
    """push immediate (below 2**31)."""
    return b"\x68" + value.to_bytes(4, "little")


def flags(bits: int) -> bytes:
    """pushfq; or qword [rsp], bits; popfq."""
    return b"\x9c\x48\x81\x0c\x24" + bits.to_bytes(4, "little") + b"\x9d"


def without_flags(bits: int) -> bytes:
    """pushfq; and qword [rsp], not bits; popfq."""
    return b"\x9c\x48\x81\x24\x24" + (~bits & 0xFFFFFFFF).to_bytes(4, "little") + b"\x9d"


def into_stub(call: int, back: int | None, flags_then: int) -> bytes:
    """A jump to the stub as if `syscall` had come there: rax, rcx (None: behind the jump), r11.

    Whatever comes back has its flags put right.
    """
    rest = put(r11=flags_then, rdx=STUB) + b"\xff\xe2"  # jmp rdx
    behind = b"\x48\x8d\x0d" + len(rest).to_bytes(4, "little")  # lea rcx, [rip + rest]
    return (
        put(rax=call) + (behind if back is None else put(rcx=back)) + rest + b"\xfc" + without_flags(ALIGNMENT) + RETURN
    )


def port_in(port: int) -> bytes:
    """in al, dx."""
    return put(rdx=port) + b"\xec"


def port_out(port: int) -> bytes:
    """out dx, al."""
    return put(rdx=port) + b"\xee"


def frame(code: int, stack: int, where: int, bits: int) -> bytes:
    """iretq with ss, rsp, rflags, cs, rip pushed."""
    return push(stack) + b"\x54" + push(bits) + push(code) + push(where) + b"\x48\xcf"


def far(selector: int, where: int) -> bytes:
    """lretq to selector:where."""
    return push(selector) + push(where) + b"\x48\xcb"


def far_into_32_bits(code: bytes) -> bytes:
    """lretq into compatibility mode, where the code runs that follows, with a stack at the page tables of a guest."""
    load = b"\xbc\x00\x08\x01\x00"  # mov esp, 0x10800
    # push READ_CS_32; lea rax, [rip + 3]; push rax; lretq
    return push(READ_CS_32) + b"\x48\x8d\x05\x03\x00\x00\x00\x50\x48\xcb" + load + code + b"\x0f\x0b"
