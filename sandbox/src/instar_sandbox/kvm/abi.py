"""The kernel's KVM interface: numbers and structures of include/uapi/linux/kvm.h and asm/kvm.h of x86."""

from __future__ import annotations

from struct import Struct

DEVICE = "/dev/kvm"
API_VERSION = 12

GET_API_VERSION = 0xAE00
CREATE_VM = 0xAE01
CHECK_EXTENSION = 0xAE03
GET_VCPU_MMAP_SIZE = 0xAE04
GET_SUPPORTED_CPUID = 0xC008AE05
CREATE_VCPU = 0xAE41
SET_USER_MEMORY_REGION = 0x4020AE46
SET_TSS_ADDR = 0xAE47
RUN = 0xAE80
GET_REGS, SET_REGS = 0x8090AE81, 0x4090AE82
GET_SREGS, SET_SREGS = 0x8138AE83, 0x4138AE84
GET_MSRS, SET_MSRS = 0xC008AE88, 0x4008AE89
SET_CPUID2 = 0x4008AE90
GET_XSAVE, SET_XSAVE = 0x9000AEA4, 0x5000AEA5
SET_XCRS = 0x4188AEA7

CAP_USER_MEMORY = 3
CAP_SYNC_REGS = 74
CAP_IMMEDIATE_EXIT = 136
CAP_SET_TSS_ADDR = 4

MEMORY_REGION = Struct("<IIQQQ")
"""struct kvm_userspace_memory_region: slot, flags, guest address, bytes, host address."""

REGISTERS = Struct("<18Q")
"""struct kvm_regs: rax rbx rcx rdx rsi rdi rsp rbp r8..r15 rip rflags."""
RAX, RBX, RCX, RDX, RSI, RDI, RSP, RBP, R8, R9, R10, R11 = range(12)
RIP, RFLAGS = 16, 17

SEGMENT = Struct("<QIHBBBBBBBBBx")
"""struct kvm_segment: base, limit, selector, type, present, dpl, db, s, l, g, avl, unusable."""
TABLE = Struct("<QH6x")
"""struct kvm_dtable: base, limit."""
SPECIAL_SIZE = 312
"""struct kvm_sregs: cs ds es fs gs ss tr ldt, gdt idt, cr0 cr2 cr3 cr4 cr8 efer apic_base, interrupt bitmap."""
SPECIAL_TABLES = 192
SPECIAL_CONTROL = 224
CONTROL = Struct("<7Q")
CS_DPL = 16
"""Where in kvm_sregs the privilege level of cs stands."""

XSAVE_SIZE = 4096
XCRS = Struct("<IIIIQ368x")
"""struct kvm_xcrs with one register: count, flags, number, reserved, value."""
XCR0_MASK = 0xE7
"""x87, SSE, AVX and AVX-512: what XSAVE_SIZE has room for."""

MSR = Struct("<IIQ")
"""struct kvm_msr_entry: index, reserved, data; a list of them follows a head of count and padding."""
MSRS = Struct("<II")
STAR, LSTAR, SYSCALL_MASK = 0xC0000081, 0xC0000082, 0xC0000084
FS_BASE, GS_BASE, KERNEL_GS_BASE = 0xC0000100, 0xC0000101, 0xC0000102

CPUID_HEAD = Struct("<II")
CPUID_ENTRY = Struct("<10I")
"""struct kvm_cpuid_entry2: function, index, flags, eax, ebx, ecx, edx, padding."""
CPUID_ENTRIES = 256

# struct kvm_run
RUN_IMMEDIATE_EXIT = 1
RUN_EXIT_REASON = 8
RUN_IO = Struct("<BBHIQ")
"""direction, size, port, count, place of the data."""
RUN_UNION = 32
RUN_VALID_REGS = 288
RUN_DIRTY_REGS = 296
RUN_REGS = 304
RUN_SREGS = RUN_REGS + REGISTERS.size
SYNC_REGS, SYNC_SREGS = 1, 2

EXIT_UNKNOWN, EXIT_EXCEPTION, EXIT_IO, EXIT_HYPERCALL, EXIT_DEBUG, EXIT_HLT, EXIT_MMIO = range(7)
EXIT_INTERRUPTED_WINDOW, EXIT_SHUTDOWN, EXIT_FAIL_ENTRY, EXIT_INTR = 7, 8, 9, 10
EXIT_INTERNAL_ERROR = 17
IO_OUT = 1
