"""What stops a command from outside: its own --timeout, and SIGTERM.

Both unwind it, so that nothing half-written stays.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import sys

from instar_core.errors import SandboxError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

TERMINATED = 143
"""Exit code after SIGTERM, as a shell shows it."""


class Terminated(KeyboardInterrupt):
    """SIGTERM arrived."""


class Stoppable:
    """While the context is open, the command ends after `timeout` seconds (None: never) with SandboxError, on SIGTERM
    with Terminated, and on SIGINT with KeyboardInterrupt. Outside the main thread it does nothing."""

    def __init__(self, timeout: float | None) -> None:
        self.timeout = timeout
        self.before: list[tuple[int, Any]] = []

    def __enter__(self) -> None:
        try:
            self.before.append((_signal.SIGTERM, _signal.signal(_signal.SIGTERM, self._terminated)))
            if _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler:
                self.before.append((_signal.SIGINT, _signal.signal(_signal.SIGINT, self._interrupted)))
            if self.timeout is not None:
                self.before.append((_signal.SIGALRM, _signal.signal(_signal.SIGALRM, self._late)))
                _signal.setitimer(_signal.ITIMER_REAL, self.timeout)
        except ValueError:  # signals are the main thread's
            return

    def __exit__(self, *_: object) -> None:
        if self.timeout is not None:
            _signal.setitimer(_signal.ITIMER_REAL, 0)
        for number, handler in self.before:
            _signal.signal(number, handler)

    def _terminated(self, *_: object) -> None:
        _leave_sources()
        raise Terminated

    def _interrupted(self, *_: object) -> None:
        _leave_sources()
        raise KeyboardInterrupt

    def _late(self, *_: object) -> None:
        _leave_sources()
        raise SandboxError(f"the command ran past its time limit of {self.timeout:g} s")


def _leave_sources() -> None:
    """No thread waits for a source any more, whose network may hang: those that wait are waited for."""
    opening = sys.modules.get("instar_core.sources.opening")
    if opening is not None:
        opening.abandon()
