"""System calls by number, as Linux on x86_64 has them (arch/x86/entry/syscalls/syscall_64.tbl), and error numbers."""

from __future__ import annotations

from instar_sandbox.jail.syscalls import X86_64

OTHERS = {
    "open": 2, "close": 3, "stat": 4, "fstat": 5, "lstat": 6, "poll": 7, "lseek": 8, "rt_sigaction": 13,
    "pwrite64": 18, "access": 21, "pipe": 22, "dup": 32, "dup2": 33, "socket": 41, "connect": 42, "sendmsg": 46,
    "recvmsg": 47, "clone": 56, "fork": 57, "vfork": 58, "execve": 59, "kill": 62, "uname": 63, "fcntl": 72,
    "ftruncate": 77, "getdents": 78, "getcwd": 79, "chdir": 80, "rename": 82, "mkdir": 83, "unlink": 87,
    "readlink": 89, "chmod": 90, "getrlimit": 97, "sysinfo": 99, "ptrace": 101, "getuid": 102, "getgid": 104,
    "setuid": 105, "geteuid": 107, "getegid": 108, "getppid": 110, "arch_prctl": 158, "setrlimit": 160, "chroot": 161,
    "reboot": 169, "sched_getaffinity": 204, "getdents64": 217, "set_tid_address": 218, "openat": 257,
    "newfstatat": 262, "readlinkat": 267, "unshare": 272, "set_robust_list": 273, "pwritev": 296, "dup3": 292,
    "pipe2": 293, "perf_event_open": 298, "prlimit64": 302, "setns": 308, "process_vm_readv": 310, "bpf": 321,
    "execveat": 322, "userfaultfd": 323, "pkey_mprotect": 329, "statx": 332, "rseq": 334, "io_uring_setup": 425,
    "pidfd_send_signal": 424, "pidfd_open": 434, "clone3": 435, "openat2": 437, "faccessat2": 439, "memfd_create": 319,
}  # fmt: skip
NUMBERS = {**X86_64, **OTHERS}
NAMES = {number: name for name, number in NUMBERS.items()}

ENOENT, EBADF, EAGAIN, ENOMEM, EACCES, EINVAL, ENOTTY, ENOSYS = 2, 9, 11, 12, 13, 22, 25, 38


def named(number: int) -> str:
    """What the call is known as."""
    return NAMES.get(number, f"system call {number}")
