"""SIGUSR1 asks qemu-img for its progress, so a verb that has none must survive it."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Deaf:
    """While the context is open, SIGUSR1 is ignored; whoever wants it takes it inside."""

    def __init__(self) -> None:
        self.before: Any = None

    def __enter__(self) -> None:
        import _signal  # type: ignore[import-not-found]

        try:
            self.before = _signal.signal(_signal.SIGUSR1, _signal.SIG_IGN)
        except ValueError:  # not the main thread: a library user's signals are not ours
            self.before = None

    def __exit__(self, *_: object) -> None:
        if self.before is not None:
            import _signal

            _signal.signal(_signal.SIGUSR1, self.before)
