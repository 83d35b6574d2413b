"""What a hostile program must not harm: a file, its position, what its host has open, its host's memory and signals."""

from __future__ import annotations

import fcntl
import os
import resource
import shutil
import signal
import socket
import tempfile
import termios
from typing import TYPE_CHECKING

from instar_sandbox.containment.acts.world import describe
from instar_sandbox.jail.libc import address

if TYPE_CHECKING:
    from typing import Self

SIZE = 16 << 10
CONTENT = bytes(range(256)) * (SIZE // 256)
IMAGE_POSITION, SECRET_POSITION = 7, 3
SHARED = 4096
SECRET = b"what nobody may read"
WAITING = b"unread"
SIGNALS = frozenset({signal.SIGURG})
"""What deeds send: by default nobody is harmed by it, so that it could go to anyone."""
HIGHEST = 400
"""Descriptors of the host are copied up to here and above, away from the numbers that a worker has."""


class Canary:
    """Things of the host's, as they were. For the time that it is open, SIGURG is blocked in this thread.

    In a program with several threads another one may take that signal, unnoticed.
    """

    def __init__(self) -> None:
        self._folder = tempfile.mkdtemp(prefix="containment-")
        self.path = os.path.join(self._folder, "canary")
        self._blocked = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        with open(self.path, "xb") as file:
            file.write(CONTENT)
        self.image = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        self.shared = os.memfd_create("shared", os.MFD_CLOEXEC)
        os.ftruncate(self.shared, SHARED)
        self._secret = self._high(
            os.open(os.path.join(self._folder, "secret"), os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        )
        os.write(self._secret, SECRET)
        self._hear, tell = (self._high(number) for number in os.pipe())
        near, far = (self._high(half.detach()) for half in socket.socketpair())
        os.write(tell, WAITING)
        os.write(far, WAITING)
        self._held = [self._secret, tell, self._hear, near, far]
        self._victim = bytearray(SECRET)
        os.lseek(self._secret, SECRET_POSITION, os.SEEK_SET)
        os.lseek(self.image, IMAGE_POSITION, os.SEEK_SET)
        self._before = self._seen()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Nothing of it is left, and signals are as before."""
        for number in (self.image, self.shared, *self._held):
            os.close(number)
        shutil.rmtree(self._folder)
        signal.pthread_sigmask(signal.SIG_SETMASK, self._blocked)

    @property
    def argument(self) -> bytes:
        """What the hostile program is told: all that it needs to find these things."""
        return describe(os.getpid(), address(self._victim), self._held, self.path)

    @property
    def descriptors(self) -> list[int]:
        """What it is given: a file that can be read, and memory that is shared with it."""
        return [self.image, self.shared]

    def harms(self) -> list[str]:
        """What has changed since this was last asked, one phrase for each."""
        before, self._before = self._before, self._seen()
        found = [name for name, value in self._before.items() if value != before[name]]
        received = signal.sigtimedwait(SIGNALS, 0)
        while received is not None:
            found.append(f"the host received signal {received.si_signo} from process {received.si_pid}")
            received = signal.sigtimedwait(SIGNALS, 0)
        return found

    def _high(self, number: int) -> int:
        """The same, where a worker has no descriptors, and inheritable: whoever is careless passes it on."""
        copy = fcntl.fcntl(number, fcntl.F_DUPFD, HIGHEST)
        os.close(number)
        return copy

    def _seen(self) -> dict[str, object]:
        """The state of everything, by what is to be said if it differs."""
        found = os.fstat(self.image)
        attributes = found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_nlink, found.st_mode
        kinds = resource.RLIMIT_CPU, resource.RLIMIT_CORE, resource.RLIMIT_NOFILE
        limits = [resource.getrlimit(kind) for kind in kinds]
        flags = [fcntl.fcntl(number, fcntl.F_GETFL) for number in (self.image, *self._held)]
        return {
            "the file has other content": os.pread(self.image, SIZE + 1, 0),
            "the file has other attributes": attributes,
            "the folder holds other files": sorted(os.listdir(self._folder)),
            "the shared position has moved": os.lseek(self.image, 0, os.SEEK_CUR),
            "the position of another file has moved": os.lseek(self._secret, 0, os.SEEK_CUR),
            "another file has other content": os.pread(self._secret, SIZE, 0),
            "the flags of a shared file have changed": flags,
            "shared memory has another size": os.fstat(self.shared).st_size,
            "a pipe holds other bytes": _waiting(self._hear),
            "a socket holds other bytes": [_waiting(number) for number in self._held[3:]],
            "the host's memory has changed": bytes(self._victim),
            "the host's limits have changed": (limits, os.getpriority(os.PRIO_PROCESS, 0), os.sched_getaffinity(0)),
        }


def _waiting(descriptor: int) -> int:
    """Bytes that could be read."""
    return int.from_bytes(fcntl.ioctl(descriptor, termios.FIONREAD, bytes(4)), "little")
