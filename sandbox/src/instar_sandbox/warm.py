"""Workers that stand ready: all but the last wall are up and, for a guest, its memory is there, before there is work.

One that is engaged gets its files on a socket of its own and becomes a session like any other.
"""

from __future__ import annotations

import os

from instar_sandbox import process, remote, server
from instar_sandbox.errors import Cause, JailError, NoPlatform
from instar_sandbox.jail import order as orders
from instar_sandbox.program import MAX_FRAME, Limits, Program
from instar_sandbox.session import PipeSession

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Collection, Sequence

    from instar_sandbox.kvm.store import Snapshot
    from instar_sandbox.remote import ServedChild

WAITING = Limits(cpu=1 << 20)
"""The most that work may be allowed later."""


class Gone(JailError):
    """The worker that stood ready is dead, and was before it had anything to do. Another can do the work."""

    def __init__(self) -> None:
        super().__init__("the worker that stood ready is gone", Cause.CUT)


class WarmSession(PipeSession):
    """A session whose worker stood ready."""

    __slots__ = ("_child", "_ended")

    def __init__(
        self,
        worker: ServedChild,
        input: int,
        output: int,
        limits: Limits,
        max_frame: int,
        ended: Callable[[ServedChild | None], None] | None = None,
    ) -> None:
        """`ended` is as in Warm.engage."""
        self._child = worker
        self._ended = ended
        super().__init__(worker, input, output, limits, max_frame)

    def _end(self, why: JailError | None) -> JailError:
        ended, self._ended = self._ended, None
        if ended is None:
            return super()._end(why)
        if why is None:  # the exit status says it
            try:
                return super()._end(None)
            finally:
                ended(None)
        self._failure = why
        os.close(self._output)
        os.close(self._input)
        self._child.kill()
        ended(self._child)
        return why


class Warm:
    """A worker that stands ready, or soon will. Not for two threads at once; a process forked off must leave it be."""

    __slots__ = (
        "_control",
        "_engaged",
        "_guest",
        "_input",
        "_limits",
        "_max_frame",
        "_module",
        "_output",
        "_stands",
        "_worker",
    )

    def __init__(
        self,
        worker: ServedChild,
        pipes: tuple[int, int],
        control: socket.socket,
        program: tuple[str, bool],
        limits: Limits,
        max_frame: int,
    ) -> None:
        """Takes over the pipe ends (input, output) and the socket. `program` is a module and whether it is a guest."""
        self._worker = worker
        self._input, self._output = pipes
        self._control = control
        self._module, self._guest = program
        self._limits = limits
        self._max_frame = max_frame
        self._engaged = False
        self._stands = False

    def fileno(self) -> int:
        """What is readable as soon as the worker stands ready, and later only if it is gone; -1 afterwards."""
        return self._control.fileno()

    def await_ready(self, timeout: float | None = None) -> None:
        """The worker stands ready. To be called at most once. Raises JailError with what kept it from that,
        and is closed.

        `timeout` in seconds; 0 looks without waiting.
        """
        self._control.settimeout(timeout)
        try:
            if self._control.recv(len(orders.READY)):
                self._control.settimeout(None)
                self._stands = True
                return
            why: JailError = self._last_words()
        except (TimeoutError, BlockingIOError):
            why = JailError("the worker did not come to stand ready in time", Cause.DEADLINE)
        except OSError:
            why = self._last_words()
        self.close()
        raise why

    def alive(self) -> bool:
        """As far as can be seen the worker still stands ready. After await_ready()."""
        try:
            self._control.setblocking(False)
            self._control.recv(1)
        except BlockingIOError:
            return True
        except OSError:
            return False
        finally:
            self._control.setblocking(True)
        return False

    @property
    def worker(self) -> ServedChild:
        """The process; for killing it."""
        return self._worker

    def engage(
        self,
        argument: bytes,
        descriptors: Sequence[int],
        limits: Limits,
        ended: Callable[[ServedChild | None], None] | None = None,
    ) -> PipeSession:
        """A session with the worker, which this no longer holds. The descriptors stay the caller's.

        The CPU time of `limits` is lowered to what the worker was made with; its memory is what that was made with.
        A worker that does not stand ready yet is waited for.

        `ended` is called once when the session is at its end, also if that is here, and perhaps by the garbage
        collector: with the worker if that is killed but not yet reaped, which is then up to `ended`, else with None.

        Raises Gone, and what send() of a session raises.
        """
        if self._engaged:
            raise RuntimeError("a worker is engaged once")
        ended = ended or _reap
        if not self._stands:
            try:
                self.await_ready(limits.wall)
            except BaseException:
                ended(None)
                raise
        bounds = Limits(min(limits.cpu, self._limits.cpu), self._limits.memory, limits.wall)
        try:
            orders.give(self._control, bounds.cpu, descriptors)
        except BaseException as error:
            self.close()
            ended(None)
            if isinstance(error, BrokenPipeError | ConnectionResetError):
                raise Gone from None
            raise
        self._engaged = True
        self._control.close()
        session = WarmSession(self._worker, self._input, self._output, bounds, self._max_frame, ended)
        try:
            if self._guest:
                from instar_sandbox.kvm.start import tell

                tell(session, Program(self._module, argument), self._max_frame, len(descriptors))
            else:
                session.send(argument)
            if self._worker.orphaned:
                raise Gone
        except BaseException as error:
            session.close()
            if isinstance(error, JailError) and error.cause == Cause.CUT and self._worker.orphaned:
                raise Gone from None  # it died with its server, after the order and before the work
            raise
        return session

    def close(self) -> None:
        """The worker is gone, if it was not engaged."""
        if not self._engaged:
            self._engaged = True
            self._control.close()
            PipeSession(self._worker, self._input, self._output, self._limits, self._max_frame).close()

    def _last_words(self) -> JailError:
        """Why the worker is gone."""
        self._engaged = True
        self._control.close()
        try:
            PipeSession(self._worker, self._input, self._output, self._limits, self._max_frame).receive()
        except JailError as error:
            return error
        return Gone()


def _reap(worker: ServedChild | None) -> None:
    if worker is not None:
        worker.end()


def warm(
    platform: str,
    module: str,
    limits: Limits = WAITING,
    *,
    snapshot: Snapshot | None = None,
    preload: Sequence[str] = (),
    max_frame: int = MAX_FRAME,
    servant: remote.ForkServer | None = None,
    unsafe_walls_off: Collection[str] = (),
) -> Warm:
    """A worker for the program `module` that gets ready: Warm.await_ready() tells when it is.

    `platform` is kvm, which begins at the snapshot, or process, where the modules `preload` are imported before the
    walls are up; in both, prepare() runs behind them and can import nothing else. `limits` are the most that the
    work may be allowed; their wall-clock time does not count. The child is forked by the `servant`, by default the
    fork server of this process.

    Raises NoPlatform, and OSError.
    """
    if platform not in ("kvm", "process"):
        raise NoPlatform(f"no platform: no worker of the kind {platform!r} can stand ready")
    import socket

    from instar_sandbox.jail import seccomp

    seccomp.require()
    guest = platform == "kvm"
    if guest:
        from instar_sandbox.kvm import start as kvm

        if snapshot is None:
            raise NoPlatform("no platform: a guest needs a snapshot that was prepared")
        kvm.require(limits, snapshot, server=True)
        preload = ()
    else:
        snapshot = None
    # Copying the pages takes longer than sharing them, but not of the time of whoever waits for the answer.
    how = server.GUEST_IN_LARGE_PAGES if guest else server.NO_GUEST
    order = server.Order(limits.cpu, limits.memory, max_frame, module, tuple(unsafe_walls_off), how, True)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        try:
            files = [*([snapshot.descriptor] if snapshot else []), theirs.fileno()]
            theirs_in, ours_out, ours_in, theirs_out = process.pipes()
            try:
                worker = (servant or remote.SERVER).launch(order, (theirs_in, theirs_out), files, preload)
            except BaseException:
                os.close(ours_out)
                os.close(ours_in)
                raise
            finally:
                os.close(theirs_in)
                os.close(theirs_out)
        except BaseException:
            ours.close()
            raise
    return Warm(worker, (ours_in, ours_out), ours, (module, guest), limits, max_frame)
