"""The process platform: a jailed child, forked from this very process."""

from __future__ import annotations

import fcntl
import os

from instar_sandbox.jail import child, signals
from instar_sandbox.session import PipeSession

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from typing import NoReturn

    from instar_sandbox.program import Limits, Program

PIPE = 1 << 20
"""Bytes that a pipe holds, where the system lets it: a sixteenth as many switches as with the default."""


class ForkedChild:
    """A child of this process."""

    __slots__ = ("_pid",)

    def __init__(self, pid: int) -> None:
        self._pid = pid

    def end(self) -> tuple[int | None, float]:
        """The child is dead and reaped. One that was ending already keeps the status it chose."""
        try:
            os.kill(self._pid, 9)
            _, status, usage = os.wait4(self._pid, 0)
        except (ChildProcessError, ProcessLookupError):  # someone else in this program waits for every child
            return None, 0.0
        return status, usage.ru_utime + usage.ru_stime


def pipes() -> tuple[int, int, int, int]:
    """Two pipes: worker's input, host's output, host's input, worker's output."""
    theirs_in, ours_out = os.pipe()
    try:
        ours_in, theirs_out = os.pipe()
    except OSError:
        os.close(theirs_in)
        os.close(ours_out)
        raise
    for end in (ours_out, ours_in):
        try:
            fcntl.fcntl(end, fcntl.F_SETPIPE_SZ, PIPE)
        except OSError:  # the user's allowance for pipes is used up
            break
    return theirs_in, ours_out, ours_in, theirs_out


def forked(child: Callable[[int, int, int], NoReturn], limits: Limits, max_frame: int) -> PipeSession:
    """A session with a child of this process, which must have one thread.

    In the child, `child` is called with its input, its output and the process id of its parent.
    """
    theirs_in, ours_out, ours_in, theirs_out = pipes()
    parent = os.getpid()
    held = signals.hold()
    try:
        pid = os.fork()
        if pid == 0:
            child(theirs_in, theirs_out, parent)
        session = PipeSession(ForkedChild(pid), ours_in, ours_out, limits, max_frame)
    except OSError:
        os.close(ours_out)
        os.close(ours_in)
        raise
    finally:
        os.close(theirs_in)
        os.close(theirs_out)
        signals.release(held)
    return session


def start(
    program: Program, descriptors: Sequence[int], limits: Limits, max_frame: int, unsafe_walls_off: Collection[str] = ()
) -> PipeSession:
    """A session with a new child. This process must have one thread."""

    def run(input: int, output: int, parent: int) -> NoReturn:
        child.run(program, input, output, descriptors, limits, parent, max_frame, unsafe_walls_off)

    return forked(run, limits, max_frame)
