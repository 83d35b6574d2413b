"""Signals as a fresh program has them: nothing inherited from the parent's handlers and masks."""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
else:
    import _signal  # the C half: `signal` brings enum

KEPT = frozenset({9, 19, 32, 33})
"""SIGKILL and SIGSTOP cannot be set; 32 and 33 are the C library's own."""


def hold() -> set[int]:
    """No signal is handled until release() of what this returns, or reset() in a child.

    Around a fork, so that no handler can raise in the child and lead it back into its parent's code.
    """
    before: set[int] = _signal.pthread_sigmask(_signal.SIG_BLOCK, _signal.valid_signals())
    return before


def release(before: set[int]) -> None:
    """Signals are handled as before; one that has come meanwhile is handled now."""
    _signal.pthread_sigmask(_signal.SIG_SETMASK, before)


def reset() -> None:
    """Every signal does its default; only SIGINT is ignored, since a terminal sends it to the parent too."""
    if "faulthandler" in sys.modules:
        sys.modules["faulthandler"].disable()
    _signal.set_wakeup_fd(-1)
    for number in range(1, _signal.NSIG):
        if number not in KEPT:
            _signal.signal(number, _signal.SIG_DFL)
    _signal.signal(_signal.SIGINT, _signal.SIG_IGN)
    _signal.pthread_sigmask(_signal.SIG_SETMASK, ())
