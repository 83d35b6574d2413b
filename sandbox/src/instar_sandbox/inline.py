"""The inline platform: no sandbox at all, for tests and debugging. A thread of this process, asked for by name only."""

from __future__ import annotations

import queue
import sys
import threading
from time import monotonic

from instar_sandbox import verdict
from instar_sandbox.errors import Cause, JailError, printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from instar_sandbox.frames import Buffer
    from instar_sandbox.program import Limits, Program

    Mail = queue.SimpleQueue[bytes | BaseException | None]


class InlineChannel:
    """The program's end."""

    def __init__(self, incoming: Mail, outgoing: Mail, limit: int) -> None:
        self._incoming = incoming
        self._outgoing = outgoing
        self._limit = limit

    def send(self, frame: Buffer) -> None:
        """The frame is on its way. Raises ValueError if it is larger than the limit."""
        if len(frame) > self._limit:
            raise ValueError(f"a frame of {len(frame)} bytes is larger than the {self._limit} allowed")
        self._outgoing.put(bytes(frame))

    def receive(self) -> bytes:
        """The host's next frame. Raises EOFError when it sends no more."""
        found = self._incoming.get()
        if not isinstance(found, bytes):
            self._incoming.put(None)
            raise EOFError("the host closed the channel")
        return found


class InlineSession:
    """The host's end. The program keeps the caller's descriptors, rights and memory; only deadlines hold."""

    def __init__(self, program: Program, descriptors: Sequence[int], limits: Limits, max_frame: int) -> None:
        self._limits = limits
        self._limit = max_frame
        self._deadline = None if limits.wall is None else monotonic() + limits.wall
        self._failure: JailError | None = None
        self._to: Mail = queue.SimpleQueue()
        self._from: Mail = queue.SimpleQueue()
        channel = InlineChannel(self._to, self._from, max_frame)
        arguments = program, tuple(descriptors), channel, self._from
        threading.Thread(target=_run, args=arguments, name="instar inline", daemon=True).start()

    def __enter__(self) -> InlineSession:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def send(self, frame: Buffer) -> None:
        """The frame is on its way. Raises JailError after the end, ValueError for a frame over the limit."""
        if self._failure:
            raise self._failure
        if len(frame) > self._limit:
            raise ValueError(f"a frame of {len(frame)} bytes is larger than the {self._limit} allowed")
        self._to.put(bytes(frame))

    def receive(self, timeout: float | None = None) -> bytes:
        """The next frame. Raises JailError; where the program raised something, that is its __cause__."""
        if self._failure:
            raise self._failure
        left = None if self._deadline is None else self._deadline - monotonic()
        whole = left is not None and (timeout is None or left <= timeout)
        wait = left if whole else timeout
        try:
            found = self._from.get(timeout=None if wait is None else max(0.0, wait))
        except queue.Empty:
            seconds = self._limits.wall if whole else timeout
            raise self._end(verdict.deadline(seconds or 0.0, whole=whole)) from None
        if isinstance(found, bytes):
            return found
        if found is None:
            raise self._end(JailError("the worker's answer was cut short", Cause.CUT))
        text = printable(f"{type(found).__name__}: {found}")
        raise self._end(JailError(f"the worker failed: {text}", Cause.CRASH)) from found

    def close(self) -> None:
        """The program is told that nobody listens; its thread ends when it next receives."""
        self._end(JailError("the session is closed", Cause.CUT))

    def kill(self) -> None:
        """The same as close(): a thread cannot be killed."""
        self.close()

    def _end(self, why: JailError) -> JailError:
        if self._failure is None:
            self._failure = why
            self._to.put(None)
        return self._failure


def _run(program: Program, descriptors: tuple[int, ...], channel: InlineChannel, outcome: Mail) -> None:
    try:
        __import__(program.module)
        module = sys.modules[program.module]
        module.serve(module.prepare(program.argument, descriptors), channel)
    except BaseException as error:
        outcome.put(error)
    else:
        outcome.put(None)
