"""The deeds that are numbers of x86_64: raw system calls and single instructions."""

from __future__ import annotations

import random

from instar_sandbox.containment.acts.instructions import INSTRUCTIONS
from instar_sandbox.containment.canary import SIZE
from instar_sandbox.containment.catalogue.inside import WILD
from instar_sandbox.containment.deed import (
    CPU,
    CRASH,
    FORBIDDEN,
    FORBIDDEN_OR_CRASH,
    QUICK,
    SPINNING,
    X86_64,
    Deed,
)
from instar_sandbox.errors import Cause
from instar_sandbox.jail.filter import FREE
from instar_sandbox.jail.syscalls import X86_64 as NUMBERS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator


ALLOWED = (
    *FREE,
    "read",
    "write",
    "readv",
    "writev",
    "pread64",
    "preadv",
    "preadv2",
    "mmap",
    "mprotect",
    "madvise",
    "futex",
    "tgkill",
)
"""Calls that a worker may make, with the right arguments."""
LAST = 600
SEED = 1
REFUSED = (b"refused: ",)
NOTHING, WHOLE = b"survived: 0", b"survived: %d" % SIZE
"""What reading far behind the image, or all of it, gives."""
PROBES = (335, 336)
"""uretprobe and uprobe: kernels that have them do not ask the filter, and refuse whoever calls them but a probe."""

CALLS = {
    "arch-prctl": b"158 0x1002 0x2000",
    "bpf": b"321 5 scratch 64",
    "clone": b"56 17 0 0 0 0",
    "clone3": b"435 scratch 88",
    "vfork": b"58",
    "copy-file-range": b"326 image 0 4 0 16 0",
    "execveat": b"322 -100 path 0 0 0",
    "get-cpu": b"309 scratch 0 0",
    "io-setup": b"206 1 scratch",
    "io-uring-setup": b"425 8 scratch",
    "ioperm": b"173 0 1024 1",
    "iopl": b"172 3",
    "kcmp": b"312 parent parent 0 0 0",
    "kexec": b"246 0 0 0 0xffff",
    "keyctl": b"250 0 -3 0",
    "landlock": b"444 0 0 1",
    "memfd-create": b"319 path 0",
    "memfd-secret": b"447 0",
    "modify-ldt": b"154 0 scratch 16",
    "module": b"175 0x10 16 0x10",
    "mount": b"165 0x10 0x10 0x10 0 0",
    "open-by-handle": b"304 -100 scratch 0",
    "perf-event-open": b"298 scratch 0 -1 -1 0",
    "personality": b"135 0xffffffff",
    "pidfd-getfd": b"438 image 3 0",
    "pidfd-send-signal": b"424 image 23 0 0",
    "pivot-root": b"155 0x10 0x10",
    "prctl-dumpable": b"157 4 1 0 0 0",
    "prctl-death-signal": b"157 1 0 0 0 0",
    "process-vm-readv": b"310 parent iov:victim:8 1 iov:victim:8 1 0",
    "process-vm-writev": b"311 parent iov:victim:8 1 iov:victim:8 1 0",
    "ptrace": b"101 0x4206 parent 0 0",
    "pwritev": b"296 image iov:path:4 1 0 0",
    "reboot": b"169 0 0 0 0",
    "rt-sigaction": b"13 24 0 scratch 8",
    "seccomp": b"317 2 0 scratch",
    "set-robust-list": b"273 0x2000 24",
    "setns": b"308 image 0",
    "settimeofday": b"164 0x10 0x10",
    "shmget": b"29 0 4096 0x1b6",
    "splice": b"275 image 0 4 0 16 0",
    "sysinfo": b"99 scratch",
    "syslog": b"103 10 0 0",
    "tkill": b"200 parent 23",
    "tgkill": b"234 parent parent 23",
    "tgkill-abort": b"234 0x3fffffff 0x3fffffff 6",
    "unshare": b"272 0x10000000",
    "userfaultfd": b"323 1",
    "vmsplice": b"278 4 iov:path:4 1 0",
    "x32": b"0x40000027",
}
"""Calls whose arguments harm nobody where nothing confines them: wild pointers, wrong magic, nobody's number."""

MAPPING_CALLS = (
    b"9 0 4096 1 2 image 0",  # mmap of the image, privately
    b"9 0 4096 3 1 image 0",
    b"9 0 4096 1 1 shared 0",
    b"202 scratch 13 0 0 0 0",  # a futex of another kind
    b"327 image iov:scratch:8 1 -1 -1 0",  # at the shared position
    b"327 image iov:scratch:8 1 0 0 0x10",  # with flags
)


def forbidden(
    name: str, title: str, *orders: bytes, causes: frozenset[str] = FORBIDDEN, survives: tuple[bytes, ...] = ()
) -> Deed:
    """Raw calls that end the session."""
    return Deed(name, "calls", title, causes, orders, survives, machine=X86_64)


def others() -> Iterator[bytes]:
    """Every call that is not allowed, with arguments as they come."""
    chance = random.Random(SEED)  # noqa: S311  a sweep, not a secret
    allowed = {NUMBERS[name] for name in ALLOWED}
    values = (0, 1, 0x10, (1 << 31) - 1, 1 << 47, 1 << 63, (1 << 64) - 1)
    for number in range(LAST + 1):
        if number not in allowed and number not in PROBES:
            words = [chance.choice((*values, chance.getrandbits(63))) for _ in range(6)]
            yield b"call %d " % number + b" ".join(b"%d" % word for word in words)


def pointers() -> Iterator[bytes]:
    """Allowed calls with wild pointers, lengths and counts."""
    for place in WILD:
        yield b"call 17 image %b 4096 0" % place  # pread64
        yield b"call 295 image iov:%b:4096 1 0 0" % place  # preadv
        yield b"call 295 image %b 4 0 0" % place
        yield b"call 1 4 %b 64" % place  # write
        yield b"call 20 4 iov:%b:64 1" % place  # writev
        yield b"read-wildly 0 3 %b 64" % place  # read
        yield b"read-wildly 19 3 iov:%b:64 1" % place  # readv
        yield b"call 318 %b 64 0" % place  # getrandom
    for length in (1 << 31, 1 << 40, 1 << 62, 1 << 63, (1 << 64) - 1):
        yield b"call 17 image scratch %d 0x7fffffff00000000" % length
        yield b"call 295 image iov:scratch:%d 1 0 0" % length
        yield b"call 295 image scratch %d 0 0" % length
        yield b"call 20 4 scratch %d" % length


ROOM = (
    b"call 12 0x7fffffffffff",  # brk, up
    b"call 25 scratch 4096 0x10000000000 1 0",  # mremap
    b"call 25 0x1ff000 4096 8192 1 0",
    b"call 25 0x1000 4096 0x100000 1 0",
    b"call 25 scratch 0 0x100000 1 0",
    b"call 11 0x1000 0x7fffffffffff0000",  # munmap
    b"call 9 0x1000 4096 3 0x32 -1 0",  # mmap, fixed, over the control area
    b"call 9 0x1ff000 4096 3 0x32 -1 0",
    b"call 9 0xffffffff80000000 4096 3 0x32 -1 0",
    b"call 9 0 0 3 0x22 -1 0",
    b"call 9 0 0xffffffffffffffff 3 0x22 -1 0",
    b"call 28 0x1000 0x1000000 4",  # madvise, DONTNEED
    b"call 28 0 0xffffffffffffffff 4",
    b"call 28 scratch 4096 100",  # madvise, HWPOISON
    b"call 10 0x1ff000 4096 7",  # mprotect
    b"call 202 0x10 0 0 0 0 0",  # futex, wait
    b"call 131 0x10 0x10",  # sigaltstack
    b"call 14 0 0x10 0x10 8",  # rt_sigprocmask
    b"call 228 0 0x10",  # clock_gettime
    b"call 228 99 scratch",
    b"call 219",  # restart_syscall
)
OWN_ENDS = (
    b"call 11 0x400000 0x7fffffbf0000",  # munmap of all that there is
    b"call 11 0x2800000 0x7fffd0000000",
    b"call 28 0x2a00000 0x10000000 4",  # and emptied
    b"call 12 0x400000",  # brk, down
    b"call 15",  # rt_sigreturn to nowhere
)

SYSTEM_CALLS = (
    *(forbidden(f"call-{name}", name.replace("-", " "), b"call " + rest) for name, rest in CALLS.items()),
    forbidden(
        "call-odd-arguments", "allowed calls with arguments that are not", *(b"call " + rest for rest in MAPPING_CALLS)
    ),
    forbidden("call-others", f"every other call up to {LAST}, with any arguments", *others()),
    forbidden(
        "call-probes",
        "calls that belong to probes",
        *(b"call %d" % number for number in PROBES),
        causes=FORBIDDEN_OR_CRASH,
        survives=(b"refused: ENXIO",),
    ),
    forbidden(
        "call-beyond", "numbers beyond the table", b"call 9999", b"call -1", b"call 0x7fffffff", b"call 0x40000200"
    ),
    Deed(
        "call-pointers",
        "calls",
        "allowed calls with wild pointers and lengths",
        FORBIDDEN_OR_CRASH,
        tuple(pointers()),
        (*REFUSED, NOTHING, WHOLE),
        machine=X86_64,
    ),
    Deed(
        "call-room",
        "calls",
        "memory calls over what is not its own",
        FORBIDDEN_OR_CRASH,
        ROOM,
        (*REFUSED, b"survived: "),
        machine=X86_64,
    ),
    Deed(
        "call-own-ends",
        "calls",
        "memory calls that pull the rug from under it",
        FORBIDDEN_OR_CRASH | {Cause.CPU, Cause.MEMORY},
        OWN_ENDS,
        (*REFUSED, b"survived: "),
        SPINNING,
        X86_64,
    ),
)

EITHER = (
    "int-0x80",
    "sysenter",
    "in-0x10",
    "ins",
    "out-system-calls",
    "out-system-calls-dx",
    "outs",
    "syscall-in-32-bits",
    "int-0x80-in-32-bits",
    "sysenter-in-32-bits",
    "stub-forbidden",
    "syscall-after-mov-ss",
)
ONLY_FORBIDDEN = ("syscall-forbidden", "syscall-x32", "syscall-beyond", "syscall-negative")
CURIOUS = (
    "sgdt",
    "sidt",
    "sldt",
    "str",
    "smsw",
    "rdtscp",
    "verw",
    "vmcall",
    "vmcall-wild",
    "vmmcall",
    "pkru",
    "wrgsbase-wild",
    "fxrstor-misaligned",
    "nothing",
)
"""May survive: they tell or change nothing that is not the program's own. KVM may emulate some without their checks."""
AS_A_CALL = (
    "stub",
    "stub-all-flags",
    "stub-no-flags",
    "syscall-stack-tables",
    "syscall-stack-wild",
    "syscall-after-mov-ss",
)
"""May survive as what they are: the allowed call getpid."""
SPINS = ("spin", "spin-in-calls")


def expected(name: str) -> Deed:
    """The deed of one instruction."""
    causes, limits = CRASH, QUICK
    survives: tuple[bytes, ...] = ()
    if name in EITHER:
        causes = FORBIDDEN_OR_CRASH
    if name in ONLY_FORBIDDEN:
        causes = FORBIDDEN
    if name in (*CURIOUS, *AS_A_CALL):
        survives = (b"survived: ",)
    if name in SPINS:
        causes, limits = CPU, SPINNING
    return Deed(
        f"instruction-{name}",
        "instructions",
        name.replace("-", " "),
        causes,
        (b"instruction " + name.encode(),),
        survives,
        limits,
        X86_64,
    )


MACHINE_CODE = tuple(expected(name.decode()) for name in INSTRUCTIONS)
DEEDS = (*SYSTEM_CALLS, *MACHINE_CODE)
