"""What stops a command from outside: its own --timeout, and SIGTERM.

Both unwind it, so that nothing half-written stays.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]

from instar_core.errors import SandboxError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

TERMINATED = 143
"""Exit code after SIGTERM, as a shell shows it."""


class Terminated(KeyboardInterrupt):
    """SIGTERM arrived."""


class Stoppable:
    """While the context is open, the command ends after `timeout` seconds (None: never) with SandboxError, and on
    SIGTERM with Terminated. Outside the main thread it does nothing."""

    def __init__(self, timeout: float | None) -> None:
        self.timeout = timeout
        self.before: list[tuple[int, Any]] = []

    def __enter__(self) -> None:
        try:
            self.before.append((_signal.SIGTERM, _signal.signal(_signal.SIGTERM, self._terminated)))
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
        raise Terminated

    def _late(self, *_: object) -> None:
        raise SandboxError(f"the command ran past its time limit of {self.timeout:g} s")
