"""Other processes, threads, signals, rights, and time."""

from __future__ import annotations

import _socket
import _thread
import fcntl
import os
import resource
import signal
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from instar_sandbox.containment.acts.world import Act, World

FAMILIES = {
    b"unix": _socket.AF_UNIX,
    b"inet": _socket.AF_INET,
    b"inet6": _socket.AF_INET6,
    b"netlink": 16,
    b"packet": 17,
    b"alg": 38,
    b"vsock": 40,
}


def socket(_: World, rest: bytes) -> object:
    """A socket of a family; raw where there is nothing else."""
    kind = _socket.SOCK_DGRAM if rest in (b"inet", b"unix", b"inet6") else _socket.SOCK_RAW
    return _socket.socket(FAMILIES[rest], kind)


def fork(_world: World, _rest: bytes) -> object:
    """A second process, which ends at once."""
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    return pid


def thread(_world: World, _rest: bytes) -> object:
    """A second thread, which has nothing to do."""
    return _thread.start_new_thread(time.time, ())


def kill(world: World, rest: bytes) -> object:
    """A signal to a process: SIGURG, which harms nobody who did not ask for it, unless the order names another."""
    number, _, which = rest.partition(b" ")
    pid = os.getpid() if number == b"self" else world.number(number)
    os.kill(pid, int(which or b"%d" % signal.SIGURG))
    return pid


def ignore_limit(_world: World, _rest: bytes) -> object:
    """The signal that comes at the CPU limit, ignored."""
    return signal.signal(signal.SIGXCPU, signal.SIG_IGN)


def raise_limit(_world: World, _rest: bytes) -> object:
    """More CPU time."""
    resource.setrlimit(resource.RLIMIT_CPU, (1000, 1000))
    return "raised"


def limit_parent(world: World, _: bytes) -> object:
    """The host's limits, changed."""
    return resource.prlimit(world.parent, resource.RLIMIT_CORE, (0, 0))


def wait(world: World, _: bytes) -> object:
    """Nothing is done, for ever."""
    return world.channel.receive()


def wait_for_lock(_world: World, _rest: bytes) -> object:
    """A lock taken twice."""
    held = _thread.allocate_lock()
    held.acquire()
    return held.acquire()


ACTS: dict[bytes, Act] = {
    b"socket": socket,
    b"socketpair": lambda _world, _rest: _socket.socketpair(),
    b"fork": fork,
    b"spawn": lambda _world, _rest: os.posix_spawn("/bin/true", ["true"], {}),
    b"exec": lambda _world, _rest: os.execv("/bin/true", ["true"]),  # noqa: S606  no shell is what is tried
    b"thread": thread,
    b"kill": kill,
    b"kill-group": lambda _world, _rest: os.killpg(0, signal.SIGURG),
    b"pidfd": lambda world, _: os.pidfd_open(world.parent),
    b"raise": lambda _world, _rest: signal.raise_signal(signal.SIGTERM),
    b"ignore-limit": ignore_limit,
    b"raise-limit": raise_limit,
    b"limit-parent": limit_parent,
    b"renice-parent": lambda world, _: os.setpriority(os.PRIO_PROCESS, world.parent, 19),
    b"renice": lambda _world, _rest: os.nice(-1),
    b"pin-parent": lambda world, _: os.sched_setaffinity(world.parent, {0}),
    b"alarm": lambda _world, _rest: signal.alarm(1),
    b"timer": lambda _world, _rest: signal.setitimer(signal.ITIMER_REAL, 1),
    b"sleep": lambda _world, _rest: time.sleep(0.01),
    b"become-root": lambda _world, _rest: os.setuid(0),
    b"drop-groups": lambda _world, _rest: os.setgroups([]),
    b"chroot": lambda _world, _rest: os.chroot("."),
    b"umask": lambda _world, _rest: os.umask(0),
    b"uname": lambda _world, _rest: os.uname(),
    b"getppid": lambda _world, _rest: os.getppid(),
    b"getuid": lambda _world, _rest: os.getuid(),
    b"waitpid": lambda _world, _rest: os.waitpid(-1, os.WNOHANG),
    b"descriptor-owner": lambda world, _: fcntl.fcntl(world.image, fcntl.F_SETOWN, os.getpid()),
    b"abort": lambda _world, _rest: os.abort(),
    b"wait": wait,
    b"wait-for-lock": wait_for_lock,
}
