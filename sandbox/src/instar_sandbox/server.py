"""The fork server: a small, single-threaded program that forks jailed children for a process with threads.

It hears orders on a socket of whole packets, each with descriptors (channel input, channel output, status pipe, files),
and writes into the status pipe how the child ended. It ends when its socket does; its children end with it.
"""

from __future__ import annotations

import os
import sys
from struct import Struct

from instar_sandbox.program import Limits

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Sequence
    from typing import NoReturn

CONTROL = 3
"""The server's end of its socket."""
AT_ONCE = 200
"""Descriptors in one packet; the kernel takes 253."""
PACKET = 128 << 10

START, KILL, MORE, PATH, PRELOAD = b"S", b"K", b"M", b"P", b"I"
HEAD = Struct("<IIQIIB?")
"""Number, CPU seconds, bytes of memory, largest frame, count of descriptors, guest, whether it is to stand ready;
module and walls follow as text."""
NO_GUEST, GUEST, GUEST_IN_LARGE_PAGES = 0, 1, 2
"""Whether the first file is the snapshot of a guest, and how that is restored."""
NUMBER = Struct("<I")
REPORT = Struct("<id")
"""Wait status (negative: no process could be made, errno), CPU seconds."""
FIXED = 3
"""Descriptors of an order before its files."""


class Order:
    """What a child is to be. One that is to stand ready has a socket as its last file, and gets its others there."""

    __slots__ = (
        "cpu",
        "descriptors",
        "expected",
        "guest",
        "max_frame",
        "memory",
        "module",
        "number",
        "ready",
        "walls_off",
    )

    def __init__(
        self,
        cpu: int,
        memory: int,
        max_frame: int,
        module: str,
        walls_off: tuple[str, ...] = (),
        guest: int = NO_GUEST,
        ready: bool = False,
    ) -> None:
        self.cpu = cpu
        self.memory = memory
        self.max_frame = max_frame
        self.module = module
        self.walls_off = walls_off
        self.guest = guest
        self.ready = ready
        self.number = 0
        self.expected = 0
        self.descriptors: list[int] = []

    def message(self, number: int, descriptors: int) -> bytes:
        """The packet that parse() reads."""
        head = HEAD.pack(number, self.cpu, self.memory, self.max_frame, descriptors, self.guest, self.ready)
        return START + head + " ".join((self.module, *self.walls_off)).encode()


def parse(packet: bytes) -> Order:
    """The order in a packet."""
    number, cpu, memory, max_frame, descriptors, guest, ready = HEAD.unpack_from(packet, 1)
    module, *walls_off = packet[1 + HEAD.size :].decode().split(" ")
    order = Order(cpu, memory, max_frame, module, tuple(walls_off), guest, ready)
    order.number = number
    order.expected = descriptors
    return order


def kill_message(number: int) -> bytes:
    """The packet that ends the child of this number."""
    return KILL + NUMBER.pack(number)


def path_message(path: list[str]) -> bytes:
    """The packet from which the server learns where modules are."""
    return PATH + "\0".join(path).encode("utf-8", "surrogateescape")


def preload_message(modules: Sequence[str]) -> bytes:
    """The packet after which the server, and so every child, has these modules."""
    return PRELOAD + "\0".join(modules).encode()


def main() -> NoReturn:
    """Serves until the socket's other end is closed."""
    import select
    import signal
    import socket

    import instar_sandbox.jail.child
    import instar_sandbox.jail.order  # noqa: F401  in memory before the first order
    from instar_sandbox.jail import descriptors, limits

    control = socket.socket(fileno=os.dup(CONTROL))
    os.dup2(os.open(os.devnull, os.O_RDWR), 0)
    os.dup2(0, 1)
    os.dup2(0, 2)
    low = max(control.fileno(), CONTROL) + 1
    os.close(CONTROL)
    descriptors.close_from(low)
    limits.room()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    wake, woken = os.pipe()
    os.set_blocking(woken, False)
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(woken, warn_on_full_buffer=False)
    poll = select.poll()
    poll.register(control.fileno(), select.POLLIN)
    poll.register(wake, select.POLLIN)
    parent = parent_watch()
    if parent is not None:
        poll.register(parent, select.POLLIN)
    service = Service()
    while True:
        for descriptor, _ in poll.poll():
            if descriptor == wake:
                os.read(wake, 4096)
                service.reap()
            elif descriptor == parent or not service.hear(control):
                os._exit(0)


def parent_watch() -> int | None:
    """A descriptor that is readable once the parent is gone, where the kernel has such (5.3).

    The socket alone does not tell if the parent left a child that inherited the other end.
    """
    try:
        return os.pidfd_open(os.getppid())
    except OSError:
        return None


class Service:
    """The children, and the order that is still lacking descriptors."""

    def __init__(self) -> None:
        self._pending: Order | None = None
        self._status: dict[int, int] = {}
        self._pids: dict[int, int] = {}

    def hear(self, control: socket.socket) -> bool:
        """One packet has been dealt with; False at the end."""
        import socket

        packet, received, _, _ = socket.recv_fds(control, PACKET, AT_ONCE + FIXED)
        kind = packet[:1]
        if kind == PATH:
            sys.path[:] = packet[1:].decode("utf-8", "surrogateescape").split("\0")
        elif kind == PRELOAD:
            preload(packet[1:].decode().split("\0"))
        elif kind == KILL:
            self.kill(NUMBER.unpack_from(packet, 1)[0])
        elif kind == START:
            self._pending = parse(packet)
            self._pending.descriptors += received
        elif kind == MORE and self._pending is not None:
            self._pending.descriptors += received
        else:
            return False
        if self._pending is not None and len(self._pending.descriptors) >= self._pending.expected:
            self.fork(self._pending)
            self._pending = None
        return True

    def kill(self, number: int) -> None:
        """The child is told to die; reap() reports it."""
        pid = self._pids.get(number)
        if pid is not None:
            os.kill(pid, 9)

    def fork(self, order: Order) -> None:
        """A jailed child lives, or its status says that there is none."""
        from contextlib import suppress

        from instar_sandbox.jail import child

        with suppress(Exception):  # once here instead of in every child; a failure is the child's to report
            __import__("instar_sandbox.kvm.monitor" if order.guest else order.module)
        input, output, status, *files = order.descriptors
        server = os.getpid()
        try:
            pid = os.fork()
        except OSError as error:
            os.write(status, REPORT.pack(-(error.errno or 1), 0.0))
            os.close(status)
        else:
            if pid == 0:
                limits = Limits(order.cpu, order.memory)
                if order.guest:
                    from instar_sandbox.kvm import monitor

                    monitor.run(
                        input, output, files[1:], files[0], None, limits, server, order.walls_off,
                        large=order.guest == GUEST_IN_LARGE_PAGES, ready=order.ready,
                    )  # fmt: skip
                ready = order.module if order.ready else None
                child.run(None, input, output, files, limits, server, order.max_frame, order.walls_off, ready)
            self._pids[order.number] = pid
            self._status[pid] = status
        for descriptor in (input, output, *files):
            os.close(descriptor)

    def reap(self) -> None:
        """Every child that has ended is reaped and reported."""
        from contextlib import suppress

        while self._pids:
            pid, status, usage = os.wait4(-1, os.WNOHANG)
            if pid == 0:
                return
            pipe = self._status.pop(pid)
            self._pids = {number: other for number, other in self._pids.items() if other != pid}
            with suppress(BrokenPipeError):  # nobody waits for it any more
                os.write(pipe, REPORT.pack(status, usage.ru_utime + usage.ru_stime))
            os.close(pipe)


def preload(modules: Sequence[str]) -> None:
    """What can be imported of these is. A failure harms nobody here: a program that needs the module will say so."""
    for module in modules:
        try:
            __import__(module)
        except BaseException:  # noqa: S112  one that exits when it is imported, too
            continue


if __name__ == "__main__":
    sys.exit("the fork server is started by instar_sandbox itself")
