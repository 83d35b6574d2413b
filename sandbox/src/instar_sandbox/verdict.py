"""What the end of a worker means: its exit status and its last words as one error."""

from __future__ import annotations

import os

from instar_sandbox.errors import Cause, JailError, printable
from instar_sandbox.lastwords import (
    EXIT_FAILED,
    EXIT_FAULT,
    EXIT_FORBIDDEN,
    EXIT_MEMORY,
    SAY_FAULT,
    SAY_FORBIDDEN,
    SAY_MEMORY,
    SAY_PLATFORM,
    SAY_WALL,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from instar_sandbox.program import Limits

SIGKILL, SIGXCPU, SIGSYS = 9, 24, 31
NEAR = 0.9
"""Share of the CPU limit above which a SIGKILL is put down to it."""


def deadline(seconds: float, *, whole: bool) -> JailError:
    """The worker was too slow: for the whole session, or for one answer."""
    if whole:
        return JailError(f"the worker ran past its deadline of {seconds:g} s", Cause.DEADLINE)
    return JailError(f"the worker did not answer within {seconds:g} s", Cause.DEADLINE)


def spoken(words: bytes, limits: Limits, *, begun: bool) -> JailError:
    """What a worker said last. Its text is data: cut, and without control characters.

    Who has `begun` to answer had its walls: that they could not be raised is not believed any more.
    """
    kind, text = words[:1], printable(words[1:].decode("utf-8", "replace"))
    if kind == SAY_MEMORY:
        return _memory(limits)
    if kind == SAY_WALL and not begun:
        return JailError(f"the worker's walls could not be raised: {text}", Cause.WALL)
    if kind == SAY_FORBIDDEN:
        return JailError(text, Cause.FORBIDDEN)
    if kind == SAY_FAULT:
        return JailError(text, Cause.CRASH)
    if kind == SAY_PLATFORM and not begun:
        return JailError(f"there is no guest: {text}", Cause.PLATFORM)
    return JailError(f"the worker failed: {text}", Cause.CRASH)


def ended(status: int | None, used: float, limits: Limits) -> JailError:
    """What a wait status (None: unknown) and the seconds of CPU time used say."""
    if status is None:
        return JailError("the worker is gone, and nobody knows why", Cause.CUT)
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        if number == SIGSYS:
            return JailError("the worker made a forbidden system call and was killed", Cause.FORBIDDEN)
        if number == SIGXCPU or (number == SIGKILL and used >= NEAR * limits.cpu):
            return JailError(f"the worker used more than its {limits.cpu} s of CPU time", Cause.CPU)
        return JailError(f"the worker crashed (signal {number}, {_name(number)})", Cause.CRASH)
    code = os.WEXITSTATUS(status)
    if code == EXIT_MEMORY:
        return _memory(limits)
    if code == EXIT_FORBIDDEN:
        return JailError("the guest made a forbidden system call and was ended", Cause.FORBIDDEN)
    if code == EXIT_FAULT:
        return JailError("the guest broke a rule and was ended", Cause.CRASH)
    if code == EXIT_FAILED:
        return JailError("the worker failed and could not say why", Cause.CRASH)
    if code:
        return JailError(f"the worker ended with status {code}", Cause.CRASH)
    return JailError("the worker's answer was cut short", Cause.CUT)


def _memory(limits: Limits) -> JailError:
    return JailError(f"the worker needed more than its {limits.memory >> 20} MiB of memory", Cause.MEMORY)


def _name(number: int) -> str:
    import signal

    try:
        return signal.Signals(number).name
    except ValueError:
        return "unknown"
