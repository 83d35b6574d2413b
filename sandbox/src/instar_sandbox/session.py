"""The host's end of a session with a jailed process."""

from __future__ import annotations

import os
from time import monotonic

from instar_sandbox import verdict
from instar_sandbox.errors import Cause, JailError
from instar_sandbox.frames import READ, Assembly, FrameTooLarge, pieces

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol, Self

    from instar_sandbox.frames import Buffer
    from instar_sandbox.program import Limits

    class Worker(Protocol):
        """A process that someone can kill and wait for."""

        def end(self) -> tuple[int | None, float]:
            """The process is killed, if it still runs, and reaped: wait status, CPU seconds. At most once."""

    class Session(Protocol):
        """What start() gives, whatever the platform. A context manager that closes."""

        def send(self, frame: Buffer) -> None:
            """The frame is on its way. Raises JailError if the worker is gone or too slow to take it."""

        def receive(self, timeout: float | None = None) -> bytes:
            """The next frame, waited for at most `timeout` seconds. Raises JailError."""

        def close(self) -> None:
            """The worker is gone and leaves nothing behind."""

        def kill(self) -> None:
            """The same, for a session that went wrong."""

        def __enter__(self) -> Self: ...
        def __exit__(self, *_: object) -> None: ...


class PipeSession:
    """A session over two pipes. One thread at a time may use it. A session that failed fails the same way for ever."""

    __slots__ = (
        "_assembly",
        "_deadline",
        "_failure",
        "_heard",
        "_input",
        "_limit",
        "_limits",
        "_output",
        "_owner",
        "_worker",
    )

    def __init__(self, worker: Worker, input: int, output: int, limits: Limits, max_frame: int) -> None:
        """Takes over the pipe ends: the worker writes to `input` and reads from `output`."""
        self._worker = worker
        self._input = input
        self._output = output
        self._limits = limits
        self._limit = max_frame
        self._assembly = Assembly(max_frame)
        self._failure: JailError | None = None
        self._heard = False
        self._owner = os.getpid()
        self._deadline = None if limits.wall is None else monotonic() + limits.wall
        if self._deadline is not None:
            os.set_blocking(output, False)

    def __enter__(self) -> PipeSession:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        if getattr(self, "_failure", self) is None and self._owner == os.getpid():
            self.close()

    def send(self, frame: Buffer) -> None:
        """The frame is on its way. Raises JailError, and ValueError for a frame over the limit."""
        if self._failure:
            raise self._failure
        for view in pieces(frame, self._limit):
            while view:
                if self._deadline is not None:
                    self._await(self._output, True, None)
                try:
                    view = view[os.write(self._output, view) :]  # noqa: PLW2901  what is left to write
                except BlockingIOError:
                    continue
                except BrokenPipeError:
                    self._hear_last()

    def receive(self, timeout: float | None = None) -> bytes:
        """The next frame, waited for at most `timeout` seconds. Raises JailError."""
        if self._failure:
            raise self._failure
        until = None if timeout is None else monotonic() + timeout
        while True:
            payload = self._take()
            if payload is not None:
                return payload
            if until is not None or self._deadline is not None:
                self._await(self._input, False, until, timeout)
            piece = os.read(self._input, READ)
            if not piece:
                raise self._lost()
            self._assembly.add(piece)

    def close(self) -> None:
        """The worker is gone and leaves nothing behind."""
        self._end(JailError("the session is closed", Cause.CUT))

    def kill(self) -> None:
        """The same as close(): a worker is never asked to end."""
        self.close()

    def _take(self) -> bytes | None:
        try:
            found = self._assembly.take()
        except FrameTooLarge as error:
            raise self._end(JailError(f"the worker sent {error}", Cause.CRASH)) from error
        if found is None:
            return None
        last, payload = found
        if last:
            raise self._end(verdict.spoken(payload, self._limits, begun=self._heard))
        self._heard = True
        return payload

    def _hear_last(self) -> None:
        """The worker reads no more: raises what it, or its end, says about that."""
        while True:
            while self._take() is not None:
                pass
            piece = os.read(self._input, READ)
            if not piece:
                raise self._lost()
            self._assembly.add(piece)

    def _lost(self) -> JailError:
        """The worker hung up: the error that its exit status amounts to."""
        return self._end(None)

    def _await(self, descriptor: int, writing: bool, until: float | None, timeout: float | None = None) -> None:
        """The pipe is ready. Raises JailError when the session's deadline or `until` comes first."""
        import select

        poll = select.poll()
        poll.register(descriptor, select.POLLOUT if writing else select.POLLIN)
        ends = [moment for moment in (self._deadline, until) if moment is not None]
        end = min(ends)
        while True:
            left = end - monotonic()
            whole = end == self._deadline
            # A worker that always has something to say must not outlive its session for that.
            if (left > 0 or not whole) and poll.poll(max(0.0, left * 1000)):
                return
            if left > 0:
                continue
            seconds = self._limits.wall if whole else timeout
            raise self._end(verdict.deadline(seconds or 0.0, whole=whole))

    def _end(self, why: JailError | None) -> JailError:
        """The worker is reaped, the pipes are closed. The first reason stands; else the exit status gives it."""
        if self._failure is None:
            self._failure = why or verdict.ended(None, 0.0, self._limits)  # now, lest an interrupt closes twice
            os.close(self._output)
            os.close(self._input)
            status, used = self._worker.end()
            self._failure = why or verdict.ended(status, used, self._limits)
        return self._failure
