"""The system calls of a guest that boots: no image is attached, and files can be read from an allow-list only."""

from __future__ import annotations

import os
import stat
import struct

from instar_sandbox.jail.descriptors import INPUT, OUTPUT
from instar_sandbox.kvm import layout, numbers
from instar_sandbox.kvm.calls import MAP_ANONYMOUS, MAP_FIXED, Calls
from instar_sandbox.kvm.elf import NOBODY, read
from instar_sandbox.kvm.errors import GuestForbidden, GuestWaits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from instar_sandbox.kvm.allow import AllowList
    from instar_sandbox.kvm.calls import Call
    from instar_sandbox.kvm.machine import Machine
    from instar_sandbox.kvm.memory import GuestMemory
    from instar_sandbox.kvm.space import Space

ARCH_SET_FS = 0x1002
AT_FDCWD, AT_EMPTY_PATH = -100, 0x1000
DUPLICATE = (0, 1030)
"""F_DUPFD, F_DUPFD_CLOEXEC"""
FILES_FROM = 16
"""The numbers of files begin here, well away from those that a sealed guest knows."""
LIMIT_FILES = 7
LIMIT_STACK = 3
UNLIMITED = (1 << 64) - 1
STAT = struct.Struct("<QQQIII4xQqqqqQqQqQ24x")
CHARACTER_DEVICE = stat.S_IFCHR | 0o600
FOLDER, FILE = 4, 8
"""What getdents64 calls them."""
SAID = 1 << 16
"""Bytes of what a guest says on its standard error that are kept."""


class BootCalls(Calls):
    """What CPython asks for until it reads its channel for the first time."""

    def __init__(self, memory: GuestMemory, space: Space, machine: Machine, allowed: AllowList) -> None:
        super().__init__(memory, space)
        self.machine = machine
        self.allowed = allowed
        self.files: dict[int, int] = {}
        self.listings: dict[int, list[tuple[str, int]]] = {}
        self.said = bytearray()
        own: dict[str, Call] = {
            "read": self.read, "pread64": self.pread64, "write": self.write, "writev": self.writev,
            "open": self.open, "openat": self.openat, "close": self.close, "lseek": self.lseek, "mmap": self.map,
            "stat": self.stat, "lstat": self.stat, "fstat": self.fstat, "newfstatat": self.newfstatat,
            "access": self.access, "faccessat2": self.faccessat, "getdents64": self.getdents64, "fcntl": self.fcntl,
            "dup": self.dup, "ioctl": self.not_a_terminal, "readlink": self.not_a_link, "readlinkat": self.not_a_link,
            "getcwd": self.getcwd, "uname": self.uname, "sysinfo": self.sysinfo, "prlimit64": self.prlimit64,
            "getrlimit": self.getrlimit, "sched_getaffinity": self.sched_getaffinity, "arch_prctl": self.arch_prctl,
            "rt_sigaction": self.rt_sigaction, "set_tid_address": self.process, "set_robust_list": self.nothing,
            "getuid": self.nobody, "geteuid": self.nobody, "getgid": self.nobody, "getegid": self.nobody,
            "getppid": self.nothing,
        }  # fmt: skip
        self.table.update({numbers.NUMBERS[name]: call for name, call in own.items()})

    def answer(self, number: int, arguments: tuple[int, ...]) -> int:
        """The result of a call; one that is not known here is refused, as a kernel without it would."""
        call = self.table.get(number)
        return -numbers.ENOSYS if call is None else call(*arguments)

    def finish(self) -> None:
        """Nothing is open any more."""
        for descriptor in self.files.values():
            os.close(descriptor)
        self.files.clear()

    def open(self, path: int, flags: int, *_: int) -> int:
        """A file for reading."""
        if flags & (os.O_ACCMODE | os.O_CREAT | os.O_TRUNC):
            return -numbers.EACCES
        descriptor = self.allowed.open(self.memory.text(path))
        if descriptor is None:
            return -numbers.ENOENT
        if flags & os.O_DIRECTORY and not stat.S_ISDIR(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            return -numbers.ENOENT
        return self._number(descriptor)

    def _number(self, descriptor: int) -> int:
        number = next(number for number in range(FILES_FROM, 1 << 16) if number not in self.files)
        self.files[number] = descriptor
        return number

    def openat(self, folder: int, path: int, flags: int, *_: int) -> int:
        """The same: names are absolute."""
        del folder
        return self.open(path, flags)

    def close(self, number: int, *_: int) -> int:
        """The file is closed."""
        self.listings.pop(number, None)
        descriptor = self.files.pop(number, None)
        if descriptor is None:
            return 0 if number <= OUTPUT else -numbers.EBADF
        os.close(descriptor)
        return 0

    def dup(self, number: int, *_: int) -> int:
        """A second descriptor of the file."""
        if number not in self.files:
            return number if number <= OUTPUT else -numbers.EBADF
        return self._number(os.dup(self.files[number]))

    def fcntl(self, number: int, command: int, *_: int) -> int:
        """Of the commands, only duplication does something."""
        return self.dup(number) if command in DUPLICATE else 0

    def read(self, number: int, place: int, length: int, *_: int) -> int:
        """Bytes of a file; reading the channel seals the guest."""
        if number == INPUT:
            raise GuestWaits
        if number == 0:
            return 0
        return self._read(number, place, length, None)

    def pread64(self, number: int, place: int, length: int, offset: int, *_: int) -> int:
        """Bytes of a file at an offset."""
        return self._read(number, place, length, offset)

    def _read(self, number: int, place: int, length: int, offset: int | None) -> int:
        descriptor = self.files.get(number)
        if descriptor is None:
            return -numbers.EBADF
        if not length:
            return 0
        part = self.memory.part(place, length)
        try:
            return os.readv(descriptor, [part]) if offset is None else os.preadv(descriptor, [part], offset)
        except OSError as error:
            return -(error.errno or numbers.EINVAL)

    def write(self, number: int, place: int, length: int, *_: int) -> int:
        """What goes to standard output and error is kept, in case the boot fails."""
        if number == OUTPUT:
            raise GuestForbidden("the guest answered before it was asked")
        if number not in (1, 2):
            return -numbers.EBADF
        self.said += self.memory.part(place, length)[: SAID - len(self.said)]
        return length

    def writev(self, number: int, place: int, count: int, *_: int) -> int:
        """The same, from several pieces."""
        if number not in (1, 2):
            return -numbers.EBADF
        pieces = self.vectors(place, count)
        for piece in pieces:
            self.said += piece[: SAID - len(self.said)]
        return sum([len(piece) for piece in pieces])

    def lseek(self, number: int, offset: int, whence: int, *_: int) -> int:
        """The position of a file."""
        if number not in self.files:
            return -numbers.EBADF
        try:
            return os.lseek(self.files[number], signed(offset), whence)
        except OSError as error:
            return -(error.errno or numbers.EINVAL)

    def map(self, address: int, length: int, protection: int, flags: int, number: int, offset: int) -> int:
        """Anonymous memory, or a copy of a file's content."""
        if not 0 < length <= self.memory.size:
            return -numbers.EINVAL
        if flags & MAP_FIXED:
            if not self.space.take_at(address, length):
                return -numbers.EINVAL
            place = address
        else:
            place = self.mmap(0, length, protection, MAP_ANONYMOUS, 0, 0)
        if place > 0 and not flags & MAP_ANONYMOUS:
            descriptor = self.files.get(number & 0xFFFFFFFF)
            if descriptor is None:
                self.space.give(place, length)
                return -numbers.EBADF
            read(descriptor, self.memory.part(place, length), offset)
        return place

    def stat(self, path: int, place: int, *_: int) -> int:
        """What is known of a file by name."""
        real = self.allowed.resolve(self.memory.text(path))
        if real is None:
            return -numbers.ENOENT
        return self._tell(os.stat(real), place)

    def fstat(self, number: int, place: int, *_: int) -> int:
        """What is known of an open file."""
        if number in self.files:
            return self._tell(os.fstat(self.files[number]), place)
        if number <= OUTPUT:
            return self._put_stat(place, CHARACTER_DEVICE, 0, 0, 0, 0)
        return -numbers.EBADF

    def newfstatat(self, folder: int, path: int, place: int, flags: int, *_: int) -> int:
        """Either of them."""
        if flags & AT_EMPTY_PATH and not self.memory.text(path):
            return self.fstat(folder & 0xFFFFFFFF, place)
        return self.stat(path, place)

    def _tell(self, found: os.stat_result, place: int) -> int:
        return self._put_stat(
            place, found.st_mode, found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns // 10**9
        )

    def _put_stat(self, place: int, mode: int, device: int, inode: int, size: int, time: int) -> int:
        times = (time, 0) * 3
        self.memory.put(place, STAT.pack(device, inode, 1, mode, 0, 0, 0, size, 4096, -(-size // 512), *times))
        return 0

    def access(self, path: int, *_: int) -> int:
        """Whether a file can be read."""
        return 0 if self.allowed.resolve(self.memory.text(path)) else -numbers.ENOENT

    def faccessat(self, folder: int, path: int, *_: int) -> int:
        """The same: names are absolute."""
        del folder
        return self.access(path)

    def getdents64(self, number: int, place: int, length: int, *_: int) -> int:
        """Names in a directory."""
        if number not in self.files:
            return -numbers.EBADF
        left = self.listings.get(number)
        if left is None:
            entries = [(entry.name, _kind(entry)) for entry in os.scandir(self.files[number])]
            left = self.listings[number] = sorted(entries)
        made = bytearray()
        while left:
            name, kind = left[0]
            text = os.fsencode(name) + b"\0"
            size = (19 + len(text) + 7) // 8 * 8
            if len(made) + size > length:
                break
            made += struct.pack("<QqHB", 1, 0, size, kind) + text.ljust(size - 19, b"\0")
            del left[0]
        self.memory.put(place, made)
        return len(made)

    def not_a_terminal(self, *_: int) -> int:
        """No descriptor is a device."""
        return -numbers.ENOTTY

    def not_a_link(self, *_: int) -> int:
        """Names are resolved before they come here."""
        return -numbers.EINVAL

    def getcwd(self, place: int, length: int, *_: int) -> int:
        """The root folder."""
        del length
        self.memory.put(place, b"/\0")
        return 2

    def uname(self, place: int, *_: int) -> int:
        """A system of no particular name."""
        names = ("Linux", "guest", "5.10.0", "#1", "x86_64", "")
        self.memory.put(place, b"".join(name.encode().ljust(65, b"\0") for name in names))
        return 0

    def sysinfo(self, place: int, *_: int) -> int:
        """The guest's memory."""
        self.memory.put(
            place,
            struct.pack("<q3QQQ4QHH4xQQI4x", 1, 0, 0, 0, self.memory.size, self.memory.size, 0, 0, 0, 0, 1, 0, 0, 0, 1),
        )
        return 0

    def prlimit64(self, process: int, kind: int, new: int, old: int, *_: int) -> int:
        """Limits as a program expects them; none is set."""
        del process, new
        return self.getrlimit(kind, old) if old else 0

    def getrlimit(self, kind: int, place: int, *_: int) -> int:
        """The same."""
        soft = {LIMIT_STACK: layout.STACK_END - layout.STACK_START, LIMIT_FILES: 1024}.get(kind, UNLIMITED)
        self.memory.put(place, struct.pack("<QQ", soft, soft))
        return 0

    def sched_getaffinity(self, process: int, length: int, place: int, *_: int) -> int:
        """One processor."""
        del process
        if length < 8:
            return -numbers.EINVAL
        self.memory.put(place, struct.pack("<Q", 1))
        return 8

    def arch_prctl(self, code: int, address: int, *_: int) -> int:
        """The place of what belongs to the thread."""
        if code != ARCH_SET_FS or address > self.memory.size:
            return -numbers.EINVAL
        self.machine.set_thread(address)
        return 0

    def rt_sigaction(self, number: int, new: int, old: int, *_: int) -> int:
        """Every signal does its default."""
        del number, new
        if old:
            self.memory.put(old, bytes(32))
        return 0

    def nobody(self, *_: int) -> int:
        """The user and group of a guest."""
        return NOBODY


def signed(value: int) -> int:
    """A 64-bit number as C's long."""
    return value - (1 << 64) if value >> 63 else value


def _kind(entry: os.DirEntry[str]) -> int:
    """The d_type of a folder or a file; a link that leads nowhere, or where this user may not go, counts as a file."""
    try:
        return FOLDER if entry.is_dir() else FILE
    except OSError:
        return FILE
