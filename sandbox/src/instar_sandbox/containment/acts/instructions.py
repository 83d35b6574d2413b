"""Instructions that unprivileged code may not use, or that end badly, on x86_64: each is run as it is."""

from __future__ import annotations

from instar_sandbox.containment.acts import code
from instar_sandbox.containment.acts.code import far, far_into_32_bits, flags, frame, into_stub, port_in, port_out, put
from instar_sandbox.containment.acts.world import Absent
from instar_sandbox.jail._libc import ffi

TYPE_CHECKING = False
if TYPE_CHECKING:
    from instar_sandbox.containment.acts.world import Act, World

SUPERVISOR, HANDLERS_HIGH = 0xB000, 0xFFFFFFFF8000B000
TABLES, EXCEPTION_STACK = 0x10800, 0xD800
NON_CANONICAL = 1 << 63
COUNT = put(rcx=0)

INSTRUCTIONS: dict[bytes, bytes] = {
    # privileged
    b"hlt": b"\xf4",
    b"cli": b"\xfa",
    b"sti": b"\xfb",
    b"rdmsr": put(rcx=0xC0000080) + b"\x0f\x32",
    b"wrmsr": put(rcx=0xC0000082, rax=0x400000, rdx=0) + b"\x0f\x30",
    b"mov-from-cr0": b"\x0f\x20\xc0",
    b"mov-to-cr0": put(rax=0x11) + b"\x0f\x22\xc0",
    b"mov-from-cr3": b"\x0f\x20\xd8",
    b"mov-to-cr3": put(rax=0x400000) + b"\x0f\x22\xd8",
    b"mov-to-cr4": put(rax=0x20) + b"\x0f\x22\xe0",
    b"mov-to-cr8": put(rax=0) + b"\x44\x0f\x22\xc0",
    b"mov-from-dr7": b"\x0f\x21\xf8",
    b"mov-to-dr7": put(rax=0x400) + b"\x0f\x23\xf8",
    b"lgdt": b"\x0f\x01\x14\x24",
    b"lidt": b"\x0f\x01\x1c\x24",
    b"lldt": put(rax=0) + b"\x0f\x00\xd0",
    b"ltr": put(rax=code.TASK) + b"\x0f\x00\xd8",
    b"lmsw": put(rax=1) + b"\x0f\x01\xf0",
    b"clts": b"\x0f\x06",
    b"invd": b"\x0f\x08",
    b"wbinvd": b"\x0f\x09",
    b"invlpg": put(rax=0x400000) + b"\x0f\x01\x38",
    b"invpcid": put(rax=2) + b"\x66\x0f\x38\x82\x04\x24",
    b"swapgs": b"\x0f\x01\xf8",
    b"xsetbv": put(rcx=0, rax=7, rdx=0) + b"\x0f\x01\xd1",
    b"monitor": put(rax=0x400000, rcx=0, rdx=0) + b"\x0f\x01\xc8",
    b"mwait": put(rax=0, rcx=0) + b"\x0f\x01\xc9",
    b"rdpmc": COUNT + b"\x0f\x33",
    b"sysret": put(rcx=SUPERVISOR, r11=2) + b"\x48\x0f\x07",
    b"sysexit": put(rcx=0, rdx=SUPERVISOR) + b"\x48\x0f\x35",
    b"rsm": b"\x0f\xaa",
    # of virtual machines and enclaves
    b"vmlaunch": b"\x0f\x01\xc2",
    b"vmxon": b"\xf3\x0f\xc7\x34\x24",
    b"vmptrld": b"\x0f\xc7\x34\x24",
    b"vmrun": put(rax=0) + b"\x0f\x01\xd8",
    b"vmload": put(rax=0) + b"\x0f\x01\xda",
    b"clgi": b"\x0f\x01\xdd",
    b"skinit": put(rax=0) + b"\x0f\x01\xde",
    b"encls": put(rax=0) + b"\x0f\x01\xcf",
    b"getsec": put(rax=0) + b"\x0f\x37",
    b"seamcall": put(rax=0) + b"\x66\x0f\x01\xcf",
    b"vmcall": put(rax=0, rcx=0, rdx=0) + b"\x0f\x01\xc1",
    b"vmcall-wild": put(rax=code.WORD, rcx=code.WORD, rdx=code.WORD) + b"\x0f\x01\xc1",
    b"vmmcall": put(rax=0, rcx=0, rdx=0) + b"\x0f\x01\xd9",
    # ports; 0x10 is the one of a guest's system calls, to be used by its stub only
    **{b"in-%#x" % port: port_in(port) for port in (0x0, 0x10, 0x20, 0x40, 0x60, 0x64, 0x80, 0xCF8, 0x3F8, 0xFFFF)},
    **{
        b"out-%#x" % port: port_out(port)
        for port in (0x0, 0x11, 0x20, *range(0x40, 0x60), 0x60, 0x64, 0x80, 0xCF8, 0x3F8, 0xFFFF)
    },
    b"out-system-calls": put(rax=code.GETPID) + b"\xe6\x10",
    b"out-system-calls-dx": put(rax=code.GETPID) + port_out(0x10),
    b"out-wide": b"\xe7\x10",
    b"out-just-before": put(rdx=0xF) + b"\x66\xef",
    b"outs": put(rdx=0x10, rcx=64) + b"\x48\x89\xe6\xf3\x6e",
    b"outs-foreign": put(rdx=0x3F8, rcx=1 << 40) + b"\x48\x89\xe6\xf3\x6e",
    b"ins": put(rdx=0x10, rcx=64) + b"\x48\x8d\x7c\x24\x80\xf3\x6c",
    b"ports-opened-by-popf": flags(code.PORTS) + port_in(0x60),
    # traps and exceptions
    b"int3": b"\xcc",
    b"icebp": b"\xf1",
    **{b"int-%#x" % vector: bytes([0xCD, vector]) for vector in (0x01, 0x02, 0x03, 0x08, 0x0D, 0x0E, 0x20, 0x80, 0xFF)},
    b"ud2": b"\x0f\x0b",
    b"ud1": b"\x0f\xb9\xc0",
    b"lock-nothing": b"\xf0\x90",
    b"too-long": b"\x66" * 15 + b"\x90",
    b"divide-by-zero": b"\x31\xc9\x31\xd2\xf7\xf1",
    b"divide-overflow": put(rax=1 << 63, rcx=code.WORD) + b"\x48\x99\x48\xf7\xf9",
    b"x87-error": b"\x68\x40\x03\x00\x00\xd9\x2c\x24\x58\xd9\xe8\xd9\xee\xde\xf9\x9b",
    b"sse-error": b"\x6a\x00\x0f\xae\x14\x24\x58\x0f\x57\xc0\xf3\x0f\x5e\xc0",
    b"mxcsr-reserved": b"\x6a\xff\x0f\xae\x14\x24\x58",
    b"fxrstor-misaligned": b"\x0f\xae\x4c\x24\x01",
    b"trap-flag": flags(code.TRAP) + b"\x90\x90",
    b"alignment-check": flags(code.ALIGNMENT) + b"\x8b\x44\x24\x01" + code.without_flags(code.ALIGNMENT),
    b"pkru": put(rax=0xFFFFFFFF, rcx=0, rdx=0) + b"\x0f\x01\xef",
    # control transfers and segments
    b"sysenter": put(rax=20, rcx=0, rdx=0) + b"\x0f\x34",
    b"lret-kernel": far(code.CODE_0, SUPERVISOR),
    b"lret-task": far(code.TASK, 0),
    b"lret-null": far(0, 0),
    b"lret-local": far(0xF, 0),
    b"lret-beyond": far(0xFFFB, 0),
    b"iret-zeros": frame(0, 0, 0, 0),
    b"iret-kernel": frame(code.CODE_0, code.DATA_0, SUPERVISOR, 0x3002),
    b"iret-supervisor-page": frame(0x33, 0x2B, SUPERVISOR, 0x3202),
    b"iret-nested": flags(code.NESTED) + frame(0x33, 0x2B, SUPERVISOR, 0x202),
    b"iret-to-32-bits": frame(code.READ_CS_32, 0x2B, SUPERVISOR, 0x3202),
    b"syscall-in-32-bits": far_into_32_bits(put(rax=20)[1:6] + code.SYSCALL),
    b"int-0x80-in-32-bits": far_into_32_bits(put(rax=20)[1:6] + b"\xcd\x80"),
    b"sysenter-in-32-bits": far_into_32_bits(put(rax=20)[1:6] + b"\x0f\x34"),
    b"load-ss-kernel": put(rax=code.DATA_0) + b"\x8e\xd0",
    b"load-ds-kernel": put(rax=code.DATA_0) + b"\x8e\xd8",
    b"load-gs-beyond": put(rax=0xFFFB) + b"\x8e\xe8",
    b"load-fs": put(rax=0x2B) + b"\x8e\xe0",
    b"wrfsbase-wild": put(rax=0x2000) + b"\xf3\x48\x0f\xae\xd0",
    b"wrfsbase-non-canonical": put(rax=NON_CANONICAL) + b"\xf3\x48\x0f\xae\xd0",
    b"wrgsbase-wild": put(rax=0x2000) + b"\xf3\x48\x0f\xae\xd8\x65\x48\x8b\x04\x25\x00\x00\x00\x00",
    b"jump-null": put(rax=0) + b"\xff\xe0",
    b"jump-non-canonical": put(rax=NON_CANONICAL) + b"\xff\xe0",
    b"jump-to-handlers": put(rax=SUPERVISOR) + b"\xff\xe0",
    b"jump-to-handlers-high": put(rax=HANDLERS_HIGH) + b"\xff\xe0",
    # stacks that are not the program's own
    b"stack-supervisor": put(rsp=EXCEPTION_STACK) + b"\x50",
    b"stack-non-canonical": put(rsp=NON_CANONICAL) + b"\x50",
    b"stack-endless": b"\x50\xeb\xfd",
    b"stack-tables-fault": put(rsp=TABLES) + b"\x0f\x0b",
    b"stack-exception-fault": put(rsp=EXCEPTION_STACK) + b"\x0f\x0b",
    b"stack-non-canonical-fault": put(rsp=NON_CANONICAL) + b"\x0f\x0b",
    # system calls in odd ways
    b"syscall-stack-tables": code.SAVE_STACK + put(rax=code.GETPID, rsp=TABLES) + code.SYSCALL + code.LOAD_STACK,
    b"syscall-stack-wild": code.SAVE_STACK + put(rax=code.GETPID, rsp=NON_CANONICAL) + code.SYSCALL + code.LOAD_STACK,
    b"syscall-after-mov-ss": put(rax=code.GETPID, rdx=0x2B) + flags(code.TRAP) + b"\x8e\xd2" + code.SYSCALL,
    b"syscall-forbidden": put(rax=2, rdi=0, rsi=0, rdx=0) + code.SYSCALL,
    b"syscall-x32": put(rax=0x40000000 + code.GETPID) + code.SYSCALL,
    b"syscall-beyond": put(rax=0x7FFFFFFF) + code.SYSCALL,
    b"syscall-negative": put(rax=code.WORD) + code.SYSCALL,
    b"stub": into_stub(code.GETPID, None, 0x202),
    b"stub-forbidden": into_stub(2, None, 0x202),
    b"stub-all-flags": into_stub(code.GETPID, None, code.WORD),
    b"stub-no-flags": into_stub(code.GETPID, None, 0),
    b"stub-ports": into_stub(code.GETPID, None, code.PORTS | 0x202)[:-1] + port_in(0x60),
    b"stub-back-wild": into_stub(code.GETPID, NON_CANONICAL, 0x202),
    b"stub-back-edge": into_stub(code.GETPID, 1 << 47, 0x202),
    b"stub-back-nearly": into_stub(code.GETPID, (1 << 47) - 1, 0x202),
    b"stub-back-supervisor": into_stub(code.GETPID, SUPERVISOR, 0x3202),
    b"stub-back-high": into_stub(code.GETPID, HANDLERS_HIGH, 0x3202),
    b"stub-second-instruction": put(rcx=SUPERVISOR, r11=0x3202, rax=code.STUB + 2) + b"\xff\xe0",
    b"spin": b"\xeb\xfe",
    b"spin-in-calls": put(rax=code.GETPID) + code.SYSCALL + b"\xeb\xf2",
    # what is no more than curious: it may survive
    b"sgdt": b"\x48\x83\xec\x10\x0f\x01\x04\x24\x48\x8b\x44\x24\x02\x48\x83\xc4\x10",
    b"sidt": b"\x48\x83\xec\x10\x0f\x01\x0c\x24\x48\x8b\x44\x24\x02\x48\x83\xc4\x10",
    b"sldt": b"\x0f\x00\xc0",
    b"str": b"\x0f\x00\xc8",
    b"smsw": b"\x0f\x01\xe0",
    b"rdtscp": b"\x0f\x01\xf9",
    b"verw": b"\x6a\x18\x0f\x00\x2c\x24\x58",
    b"nothing": put(rax=0x1234),
}


def instruction(world: World, rest: bytes) -> object:
    """The instruction of this name, run; what was in rax afterwards."""
    if world.area is None:
        raise Absent("no memory that may be written and run")
    whole = INSTRUCTIONS[rest] + code.RETURN
    world.area[: len(whole)] = whole
    start = int(ffi.cast("uintptr_t", ffi.from_buffer(world.area)))
    return hex(ffi.cast("unsigned long(*)(void)", start)())


ACTS: dict[bytes, Act] = {b"instruction": instruction}
