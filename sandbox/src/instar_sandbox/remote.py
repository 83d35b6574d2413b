"""Sessions whose child is forked by the fork server, for programs with threads."""

from __future__ import annotations

import _thread
import os
import sys

from instar_sandbox import process, server
from instar_sandbox.errors import Cause, JailError, NoPlatform
from instar_sandbox.session import PipeSession

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Collection, Sequence

    from instar_sandbox.frames import Buffer
    from instar_sandbox.kvm.store import Snapshot
    from instar_sandbox.program import Limits, Program

KEPT_ENVIRONMENT = ("LD_LIBRARY_PATH", "PATH")
"""Variables without which some interpreters do not start. The server, and so its workers, see no others of the
caller's."""
ALLOCATION = "glibc.malloc.mmap_threshold=33554432:glibc.malloc.trim_threshold=1073741824"
"""What a worker frees stays with its allocator: to be given every large buffer anew, page by page, may cost more than
what is done in it."""
BOOT = "import sys; sys.path[:] = sys.argv[1:]; from instar_sandbox.server import main; main()"


SHUT_BOTH = 2
"""socket.SHUT_RDWR. Closing alone would not tell the server, while a process forked off has a copy of the socket."""


class ServedChild:
    """A child of the fork server; its end is heard from a pipe."""

    __slots__ = ("_control", "_number", "_server", "_status")

    def __init__(self, owner: ForkServer, control: socket.socket, number: int, status: int) -> None:
        self._server = owner
        self._control = control
        self._number = number
        self._status = status

    @property
    def orphaned(self) -> bool:
        """The server that forked the child is gone, so that the child dies as well, if it has not yet.

        The kernel closes the server's socket before it kills the server's children: who has seen one of these end sees
        this of all others.
        """
        import select

        poll = select.poll()
        try:
            poll.register(self._control, 0)
        except ValueError:  # closed: there is a newer server
            return True
        return bool(poll.poll(0))

    def kill(self) -> None:
        """The child is as good as dead; end() will not have to wait for long. Any thread may do this at any time."""
        self._server.kill(self._number)

    def fileno(self) -> int:
        """What is readable once the child is reaped, until end()."""
        return self._status

    def end(self) -> tuple[int | None, float]:
        """The child is dead and reaped; nothing is known of its end if the server is gone too."""
        self.kill()
        try:
            report = os.read(self._status, server.REPORT.size)
        finally:
            os.close(self._status)
        if len(report) < server.REPORT.size:
            return None, 0.0
        status, used = server.REPORT.unpack(report)
        if status < 0:
            return None, 0.0
        return status, used


class ForkServer:
    """The fork server of this process: started when first needed, and again if it has died. Any thread may use it."""

    def __init__(self) -> None:
        self._lock = _thread.allocate_lock()
        self._owner = 0
        self._pid = 0
        self._socket: socket.socket | None = None
        self._number = 0
        self._path: list[str] = []
        self._preloaded: set[str] = set()

    def launch(
        self, order: server.Order, ends: Sequence[int], files: Sequence[int], preload: Sequence[str] = ()
    ) -> ServedChild:
        """A child with these pipe ends (input, output) and files, forked from a server that has the modules `preload`.

        Raises NoPlatform if no server can be started.
        """
        if self._owner not in (0, os.getpid()):  # forked off: the lock may be held by a thread that is not here
            self._lock = _thread.allocate_lock()
        hear, tell = os.pipe()
        try:
            with self._lock:
                self._number = self._number + 1 & 0xFFFFFFFF
                descriptors = [*ends, tell, *files]
                control = self._socket if self._owner == os.getpid() else None
                control = control or self._start()
                try:
                    self._send(control, order, descriptors, preload)
                except (BrokenPipeError, ConnectionResetError):
                    control = self._start()
                    self._send(control, order, descriptors, preload)
                return ServedChild(self, control, self._number, hear)
        except BaseException:
            os.close(hear)
            raise
        finally:
            os.close(tell)

    def kill(self, number: int) -> None:
        """The child of this number is as good as dead, if it still runs.

        Takes no lock: it may be called while launch() runs in this very thread, by the end of a forgotten session.
        """
        control = self._socket
        if control is not None and self._owner == os.getpid():
            try:
                control.send(server.kill_message(number))
            except OSError:  # the server is gone, and its children are with it
                return

    def stop(self) -> None:
        """The server, and every child of it, is gone."""
        with self._lock:
            self._forget()

    @property
    def pid(self) -> int:
        """Process id of the server, 0 before it is first needed."""
        return self._pid

    def _send(
        self, control: socket.socket, order: server.Order, descriptors: Sequence[int], preload: Sequence[str]
    ) -> None:
        import socket

        path = absolute_path()
        if path != self._path:
            control.send(server.path_message(path))
            self._path = path
        missing = [module for module in preload if module not in self._preloaded]
        if missing:
            control.send(server.preload_message(missing))
            self._preloaded.update(missing)
        for at in range(0, len(descriptors), server.AT_ONCE):
            piece = descriptors[at : at + server.AT_ONCE]
            message = order.message(self._number, len(descriptors)) if at == 0 else server.MORE
            socket.send_fds(control, [message], piece)

    def _start(self) -> socket.socket:
        import socket

        self._forget()
        if not sys.executable:
            raise NoPlatform("no platform: the fork server needs to know where the Python interpreter is")
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            path = absolute_path()
            self._pid = os.posix_spawn(
                sys.executable,
                [sys.executable, "-I", "-c", BOOT, *path],
                {name: os.environ[name] for name in KEPT_ENVIRONMENT if name in os.environ}
                | {"GLIBC_TUNABLES": ALLOCATION},
                file_actions=[(os.POSIX_SPAWN_DUP2, theirs.fileno(), server.CONTROL)],
            )
        except OSError as error:
            ours.close()
            raise NoPlatform(f"no platform: the fork server cannot be started: {error.strerror}") from error
        finally:
            theirs.close()
        self._socket = ours
        self._owner = os.getpid()
        self._path = path
        self._preloaded = set()
        return ours

    def _forget(self) -> None:
        control, self._socket = self._socket, None
        if control is None:
            return
        if self._owner != os.getpid():
            control.close()
            return
        try:
            control.shutdown(SHUT_BOTH)
        except OSError:  # the server has gone before
            pass
        finally:
            control.close()
        try:
            os.waitpid(self._pid, 0)
        except ChildProcessError:  # someone else in this program waits for every child
            return


def absolute_path() -> list[str]:
    """Where this process finds modules, wherever another stands."""
    return [os.path.abspath(entry) for entry in sys.path]


SERVER = ForkServer()
"""The only state of this module: a process needs one server, and it must outlive the sessions of all threads."""


def start(
    program: Program,
    descriptors: Sequence[int],
    limits: Limits,
    max_frame: int,
    unsafe_walls_off: Collection[str] = (),
    snapshot: Snapshot | None = None,
) -> PipeSession:
    """A session with a new child of the fork server: a guest that goes on from the snapshot, if there is one."""
    order = server.Order(
        limits.cpu, limits.memory, max_frame, program.module, tuple(unsafe_walls_off), guest_of(snapshot)
    )
    files = [*([snapshot.descriptor] if snapshot else []), *descriptors]
    theirs_in, ours_out, ours_in, theirs_out = process.pipes()
    try:
        worker = SERVER.launch(order, (theirs_in, theirs_out), files)
    except BaseException:
        os.close(ours_out)
        os.close(ours_in)
        raise
    finally:
        os.close(theirs_in)
        os.close(theirs_out)
    session = PipeSession(worker, ours_in, ours_out, limits, max_frame)
    if snapshot is not None:
        from instar_sandbox.kvm.start import introduce as introduce_guest

        introduce_guest(session, program, max_frame, len(descriptors))
    else:
        introduce(session, program.module.encode(), program.argument)
    return session


def guest_of(snapshot: Snapshot | None) -> int:
    """How an order says that the child is a guest of this snapshot."""
    if snapshot is None:
        return server.NO_GUEST
    return server.GUEST_IN_LARGE_PAGES if snapshot.description.large else server.GUEST


def introduce(session: PipeSession, *frames: Buffer) -> None:
    """The child knows its program. Raises NoPlatform if it never came to be."""
    try:
        for frame in frames:
            session.send(frame)
    except JailError as error:
        if error.cause == Cause.CUT:
            raise NoPlatform("no platform: the fork server could not make a process") from error
        raise
