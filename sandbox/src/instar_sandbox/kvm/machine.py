"""A virtual machine with one processor that runs unprivileged code only, and stops at each of its system calls."""

from __future__ import annotations

import fcntl
import mmap
import os
import struct

from instar_sandbox.errors import NoPlatform
from instar_sandbox.jail import libc
from instar_sandbox.kvm import abi, control, layout
from instar_sandbox.kvm.errors import BackendError, GuestFault, GuestForbidden

TYPE_CHECKING = False
if TYPE_CHECKING:
    from instar_sandbox.kvm.memory import GuestMemory

CR0 = 0x80050033
"""PG AM WP NE ET MP PE."""
CR4_ALWAYS = 0x40620
"""PAE OSFXSR OSXMMEXCPT OSXSAVE."""
CR4_FSGSBASE = 1 << 16
EFER = 0xD01
"""SCE LME LMA NXE."""
CLEARED_FLAGS = 0x257FD5 & ~0x8D5
"""What `syscall` clears of the flags: all but the arithmetic ones."""
KEPT_FLAGS = 0x240CD5
"""Flags that a program may have set when a system call returns: arithmetic, direction, alignment, identification."""
FIXED_FLAGS = 0x202
USER_CODE_TYPE, USER_DATA_TYPE, TASK_TYPE = 0xB, 0x3, 0xB
CANONICAL = 1 << 47

ARCHITECTURE = "x86_64"

STATE_MSRS = (abi.STAR, abi.LSTAR, abi.SYSCALL_MASK, abi.FS_BASE, abi.GS_BASE, abi.KERNEL_GS_BASE)


def open_device() -> int:
    """A descriptor of /dev/kvm. Raises NoPlatform."""
    if os.uname().machine != ARCHITECTURE:
        raise NoPlatform(f"no platform: guests are for {ARCHITECTURE} only")
    try:
        kvm = os.open(abi.DEVICE, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        raise NoPlatform(f"no platform: {abi.DEVICE} cannot be opened: {error.strerror}") from error
    try:
        version = fcntl.ioctl(kvm, abi.GET_API_VERSION, 0)
        lacks = [cap for cap in (abi.CAP_USER_MEMORY, abi.CAP_IMMEDIATE_EXIT) if not extension(kvm, cap)]
        registers = extension(kvm, abi.CAP_SYNC_REGS)
    except OSError as error:
        os.close(kvm)
        raise NoPlatform(f"no platform: {abi.DEVICE} does not answer: {error.strerror}") from error
    if version != abi.API_VERSION or lacks or registers & 3 != 3:
        os.close(kvm)
        raise NoPlatform(f"no platform: KVM here (version {version}) lacks what is needed")
    return kvm


def extension(kvm: int, capability: int) -> int:
    """What KVM_CHECK_EXTENSION says."""
    return fcntl.ioctl(kvm, abi.CHECK_EXTENSION, capability)


class Machine:
    """One VM, one processor, its memory. Bound to this process: it does not survive a fork.

    Between next_call() and answer() the processor stands in the stub. `stays_user` says whether `syscall` leaves the
    guest unprivileged, as one known backend has it; it is found out at the first exit, whose code is trusted, and every
    later one must be like it. That backend emulates instructions while the stack pointer is no address: `syscall` then
    leads to the privileged level after all.
    """

    __slots__ = ("_run", "_vm", "features", "stays_user", "vcpu")

    def __init__(self, kvm: int, memory: GuestMemory, features: bytes = b"") -> None:
        """`features` is what the guest is told of its processor, all that there is unless it was asked for before.

        Raises BackendError where KVM refuses something.
        """
        self.stays_user: bool | None = None
        self._run: mmap.mmap | None = None
        self._vm = self.vcpu = -1
        try:
            self._vm = fcntl.ioctl(kvm, abi.CREATE_VM, 0)
            if extension(kvm, abi.CAP_SET_TSS_ADDR):
                fcntl.ioctl(self._vm, abi.SET_TSS_ADDR, layout.MOST_MEMORY)  # of use to old VMX only
            for region in regions(memory):
                fcntl.ioctl(self._vm, abi.SET_USER_MEMORY_REGION, region)
            self.vcpu = fcntl.ioctl(self._vm, abi.CREATE_VCPU, 0)
            self._run = mmap.mmap(self.vcpu, fcntl.ioctl(kvm, abi.GET_VCPU_MMAP_SIZE, 0))
            self.features = features or supported(kvm)
            fcntl.ioctl(self.vcpu, abi.SET_CPUID2, bytearray(self.features))
            self._set_extended()
            self._set_special()
            self.set_msrs(
                {abi.STAR: control.STAR, abi.LSTAR: layout.STUB, abi.SYSCALL_MASK: CLEARED_FLAGS, abi.FS_BASE: 0}
            )
        except OSError as error:
            self.close()
            raise BackendError(f"KVM refused to make a machine: {error.strerror}") from error
        except BackendError:
            self.close()
            raise
        struct.pack_into("<QQ", self._run, abi.RUN_VALID_REGS, abi.SYNC_REGS | abi.SYNC_SREGS, 0)

    def close(self) -> None:
        """The machine is gone. Its memory is the caller's."""
        if self._run is not None:
            self._run.close()
        for descriptor in (self.vcpu, self._vm):
            if descriptor >= 0:
                os.close(descriptor)

    def detach(self, number: int) -> None:
        """Only the processor stays open, as this descriptor: what running it takes."""
        os.dup2(self.vcpu, number, inheritable=False)
        os.close(self.vcpu)
        os.close(self._vm)
        self.vcpu, self._vm = number, -1

    def start(self, address: int, stack: int) -> None:
        """The processor will run from here, all other registers zero."""
        registers = [0] * 18
        registers[abi.RIP], registers[abi.RSP], registers[abi.RFLAGS] = address, stack, FIXED_FLAGS
        fcntl.ioctl(self.vcpu, abi.SET_REGS, abi.REGISTERS.pack(*registers))

    def warm(self) -> None:
        """Whatever the kernel does when a machine first runs is done; newer ones start a thread, which needs leave."""
        run = self._run
        assert run is not None  # noqa: S101
        run[abi.RUN_IMMEDIATE_EXIT] = 1
        try:
            fcntl.ioctl(self.vcpu, abi.RUN, 0)
        except InterruptedError:
            run[abi.RUN_IMMEDIATE_EXIT] = 0

    def next_call(self) -> tuple[int, tuple[int, ...]]:
        """The guest has run up to a system call: its number and six arguments.

        Raises GuestFault, GuestForbidden for any other reason to stop.
        """
        run = self._run
        assert run is not None  # noqa: S101  closed machines are not run
        while True:
            try:
                fcntl.ioctl(self.vcpu, abi.RUN, 0)
                break
            except InterruptedError:
                continue
            except OSError as error:
                raise GuestFault(f"the guest cannot go on: {error.strerror}") from error
        registers = abi.REGISTERS.unpack_from(run, abi.RUN_REGS)
        (reason,) = struct.unpack_from("<I", run, abi.RUN_EXIT_REASON)
        if reason != abi.EXIT_IO:
            raise GuestFault(self._why(reason))
        direction, size, port, count, _ = abi.RUN_IO.unpack_from(run, abi.RUN_UNION)
        if port != layout.SYSTEM_CALL_PORT or direction != abi.IO_OUT or size != 1 or count != 1:
            raise self._foreign(direction, port)
        user = run[abi.RUN_SREGS + abi.CS_DPL] == 3
        if self.stays_user is None:
            self.stays_user = user
        elif self.stays_user != user:  # it may be otherwise at each call; answer() would leave a program privileged
            raise GuestForbidden("the guest made a system call that arrived at another privilege level than its own")
        if registers[abi.RCX] >= CANONICAL:
            raise GuestFault("the guest would return to an address that no program has")
        if registers[abi.RIP] not in STUB_PLACES:
            raise GuestForbidden("the guest wrote to the port of system calls from elsewhere")
        return registers[abi.RAX], (
            registers[abi.RDI],
            registers[abi.RSI],
            registers[abi.RDX],
            registers[abi.R10],
            registers[abi.R8],
            registers[abi.R9],
        )

    def answer(self, value: int) -> None:
        """The guest will go on after its system call with this value in its accumulator."""
        run = self._run
        assert run is not None  # noqa: S101
        struct.pack_into("<Q", run, abi.RUN_REGS, value & (1 << 64) - 1)
        if self.stays_user:  # no sysretq: what it would do
            (flags,) = struct.unpack_from("<Q", run, abi.RUN_REGS + 8 * abi.R11)
            run[abi.RUN_REGS + 8 * abi.RIP : abi.RUN_REGS + 8 * abi.RIP + 8] = run[
                abi.RUN_REGS + 8 * abi.RCX : abi.RUN_REGS + 8 * abi.RCX + 8
            ]
            struct.pack_into("<Q", run, abi.RUN_REGS + 8 * abi.RFLAGS, flags & KEPT_FLAGS | FIXED_FLAGS)
        struct.pack_into("<Q", run, abi.RUN_DIRTY_REGS, abi.SYNC_REGS)

    def set_thread(self, address: int) -> None:
        """The base of fs: where the C library keeps what belongs to a thread."""
        self.set_msrs({abi.FS_BASE: address})

    def set_msrs(self, values: dict[int, int]) -> None:
        """Model-specific registers have these values. Raises BackendError if one is refused."""
        entries = b"".join(abi.MSR.pack(index, 0, value) for index, value in values.items())
        done = fcntl.ioctl(self.vcpu, abi.SET_MSRS, bytearray(abi.MSRS.pack(len(values), 0) + entries))
        if done != len(values):
            raise BackendError(f"KVM refused register {list(values)[done]:#x}")

    def state(self) -> tuple[bytes, bytes, bytes]:
        """Registers, special registers with MSRs, and extended state, while the processor stands in the stub.

        What was asked for is completed first, so that nothing is pending in the state.
        """
        self.warm()
        registers = bytearray(abi.REGISTERS.size)
        fcntl.ioctl(self.vcpu, abi.GET_REGS, registers)
        special = bytearray(abi.SPECIAL_SIZE)
        fcntl.ioctl(self.vcpu, abi.GET_SREGS, special)
        wanted = b"".join(abi.MSR.pack(index, 0, 0) for index in STATE_MSRS)
        msrs = bytearray(abi.MSRS.pack(len(STATE_MSRS), 0) + wanted)
        if fcntl.ioctl(self.vcpu, abi.GET_MSRS, msrs) != len(STATE_MSRS):
            raise BackendError("KVM does not tell its registers")
        extended = bytearray(abi.XSAVE_SIZE)
        fcntl.ioctl(self.vcpu, abi.GET_XSAVE, extended)
        return bytes(registers), bytes(special + msrs), bytes(extended)

    def restore(self, registers: bytes, special: bytes, extended: bytes, stays_user: bool) -> None:
        """The processor stands where state() was asked for; answer() lets it go on."""
        run = self._run
        assert run is not None  # noqa: S101
        msrs = bytearray(special[abi.SPECIAL_SIZE :])
        fcntl.ioctl(self.vcpu, abi.SET_SREGS, special[: abi.SPECIAL_SIZE])
        if fcntl.ioctl(self.vcpu, abi.SET_MSRS, msrs) != len(STATE_MSRS):
            raise BackendError("KVM refused a register of the snapshot")
        fcntl.ioctl(self.vcpu, abi.SET_XSAVE, bytearray(extended))
        run[abi.RUN_REGS : abi.RUN_REGS + abi.REGISTERS.size] = registers
        struct.pack_into("<QQ", run, abi.RUN_VALID_REGS, abi.SYNC_REGS | abi.SYNC_SREGS, abi.SYNC_REGS)
        self.stays_user = stays_user

    def _set_extended(self) -> None:
        """Programs may use the vector registers that a snapshot has room for."""
        try:
            fcntl.ioctl(self.vcpu, abi.SET_XCRS, abi.XCRS.pack(1, 0, 0, 0, extended_state(self.features)))
        except OSError as error:
            raise BackendError("the processor's XSAVE is missing here") from error

    def _set_special(self) -> None:
        """Flat segments, paging on, unprivileged: as Linux has them for a program."""
        code = abi.SEGMENT.pack(0, 0xFFFFFFFF, control.USER_CODE, USER_CODE_TYPE, 1, 3, 0, 1, 1, 1, 0, 0)
        data = abi.SEGMENT.pack(0, 0xFFFFFFFF, control.USER_DATA, USER_DATA_TYPE, 1, 3, 1, 1, 0, 1, 0, 0)
        none = abi.SEGMENT.pack(0, 0xFFFFFFFF, 0, USER_DATA_TYPE, 1, 3, 1, 1, 0, 1, 0, 0)
        place = layout.HIGH + layout.TASK
        limit = control.TASK_SIZE + control.PORTS // 8
        task = abi.SEGMENT.pack(place, limit, control.TASK, TASK_TYPE, 1, 0, 0, 0, 0, 0, 0, 0)
        local = abi.SEGMENT.pack(0, 0, 0, 2, 1, 0, 0, 0, 0, 0, 0, 1)
        tables = abi.TABLE.pack(layout.HIGH + layout.DESCRIPTORS, control.TASK + 15)
        tables += abi.TABLE.pack(layout.HIGH + layout.INTERRUPTS, 16 * layout.EXCEPTIONS - 1)
        special = bytearray(abi.SPECIAL_SIZE)
        fcntl.ioctl(self.vcpu, abi.GET_SREGS, special)
        cr4 = CR4_ALWAYS | (CR4_FSGSBASE if has_fsgsbase(self.features) else 0)
        *_, apic = abi.CONTROL.unpack_from(special, abi.SPECIAL_CONTROL)
        segments = code + data + none * 2 + none + data + task + local  # cs ds es fs gs ss tr ldt
        special[: abi.SPECIAL_TABLES] = segments
        special[abi.SPECIAL_TABLES : abi.SPECIAL_CONTROL] = tables
        abi.CONTROL.pack_into(special, abi.SPECIAL_CONTROL, CR0, 0, layout.PML4, cr4, 0, EFER, apic)
        fcntl.ioctl(self.vcpu, abi.SET_SREGS, bytes(special))

    def _foreign(self, direction: int, port: int) -> GuestFault | GuestForbidden:
        vector = port - layout.EXCEPTION_PORT
        if direction == abi.IO_OUT and 0 <= vector < layout.EXCEPTIONS:
            return GuestFault(
                f"the guest broke a rule of the processor: {EXCEPTIONS.get(vector, f'exception {vector}')}"
            )
        return GuestForbidden(f"the guest used port {port:#x}")

    def _why(self, reason: int) -> str:
        if reason == abi.EXIT_MMIO:
            return "the guest left its memory"
        if reason == abi.EXIT_SHUTDOWN:
            return "the guest broke down: an exception that could not be handled"
        return f"the guest stopped for a reason that it may not have: {reason}"


STUB_PLACES = (layout.STUB, layout.STUB + 2)
"""Where the processor may stand at a system call: at the stub's out, or already behind it."""

EXCEPTIONS = {
    0: "division error",
    1: "debug exception",
    3: "breakpoint",
    4: "overflow",
    5: "bound range",
    6: "invalid instruction",
    7: "no floating-point unit",
    8: "double fault",
    10: "invalid task",
    11: "segment not present",
    12: "stack fault",
    13: "general protection",
    14: "page fault",
    16: "floating-point error",
    17: "alignment check",
    18: "machine check",
    19: "vector arithmetic error",
    21: "control protection",
}


def regions(memory: GuestMemory) -> list[bytes]:
    """Each struct kvm_userspace_memory_region of a guest: its own memory, and what the host shares with it."""
    found = [abi.MEMORY_REGION.pack(0, 0, 0, memory.size, memory.address)]
    if memory.shared is not None:
        size = -(-len(memory.shared) // layout.PAGE) * layout.PAGE
        found.append(abi.MEMORY_REGION.pack(1, 0, layout.SHARED, size, libc.address(memory.shared)))
    return found


def supported(kvm: int) -> bytes:
    """struct kvm_cpuid2 with all that KVM supports here. Raises OSError."""
    table = bytearray(abi.CPUID_HEAD.size + abi.CPUID_ENTRIES * abi.CPUID_ENTRY.size)
    abi.CPUID_HEAD.pack_into(table, 0, abi.CPUID_ENTRIES, 0)
    fcntl.ioctl(kvm, abi.GET_SUPPORTED_CPUID, table)
    (count, _) = abi.CPUID_HEAD.unpack_from(table, 0)
    return bytes(table[: abi.CPUID_HEAD.size + count * abi.CPUID_ENTRY.size])


def leaf(table: bytes, function: int, index: int = 0) -> tuple[int, int, int, int]:
    """eax, ebx, ecx, edx of one leaf; zeros for one that is not there."""
    for found in abi.CPUID_ENTRY.iter_unpack(table[abi.CPUID_HEAD.size :]):
        if found[0] == function and found[1] == index:
            return found[3], found[4], found[5], found[6]
    return 0, 0, 0, 0


def extended_state(table: bytes) -> int:
    """The value of XCR0: what the processor has, of what a snapshot has room for."""
    return leaf(table, 0xD)[0] & abi.XCR0_MASK | 3


def has_fsgsbase(table: bytes) -> bool:
    """Whether programs may set the bases of fs and gs."""
    return bool(leaf(table, 7)[1] & 1)
