"""How far an operation is, drawn in qemu-img's form or as a bar.

qemu's form goes to standard output: `    (12.34/100%)` and a carriage return, at the start, whenever it moved by more
than the step, and at the end, then a newline. Without -p, SIGUSR1 asks for one line on standard error at the next step.
"""

from __future__ import annotations

from instar_core.cli import output
from instar_core.errors import FormatError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

    from instar_core.cli.call import Call
    from instar_core.cli.progress_bar import Bar
    from instar_core.results import Progress


CONVERT_STEP: Final = 1.0
COMPARE_STEP: Final = 2.0
WHOLE: Final = 100.0


def drawn(call: Call, *, wanted: bool, step: float, late: bool = False) -> Percent | OnSignal | Bar:
    """What an operation is to tell its progress to, as a context manager. With `late` the image is opened first."""
    if not wanted:
        return OnSignal()
    if not call.qemu and output.terminal():
        from instar_core.cli import progress_bar

        return progress_bar.Bar(call.verb)
    return Late(step, call.verb) if late else Percent(step)


def percent(event: Progress) -> float:
    """The event as a part of 100."""
    return min(WHOLE, event.done * WHOLE / event.total) if event.total > 0 else WHOLE


class Percent:
    """qemu's form. On leaving without an error 100 has been printed once; the newline comes in any case."""

    def __init__(self, step: float) -> None:
        self.step = step
        self.printed = -1.0

    def __enter__(self) -> Percent:
        self._print(0.0)
        return self

    def __call__(self, event: Progress) -> None:
        """Printed if it moved far enough; the last step is left to the end."""
        now = percent(event)
        if self.printed + self.step < now < WHOLE:
            self._print(now)

    def done(self) -> None:
        """All is done, whatever the events said."""
        if self.printed < WHOLE:
            self._print(WHOLE)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.done()
        self.end()

    def end(self) -> None:
        """The line is closed."""
        output.out("\n")

    def _print(self, value: float) -> None:
        output.out(f"    ({value:3.2f}/100%)\r")
        output.flush()
        self.printed = value


class Late(Percent):
    """qemu's form where it begins when the image is open: what is printed of a failure before that differs by verb."""

    def __init__(self, step: float, verb: str) -> None:
        super().__init__(step)
        self.verb = verb
        self.idle = False
        """Whether there was nothing to be done."""

    def __enter__(self) -> Late:
        return self

    def __call__(self, event: Progress) -> None:
        """As Percent, which has begun then."""
        self.begin()
        super().__call__(event)

    def begin(self) -> None:
        """The beginning has been printed once."""
        if self.printed < 0:
            self._print(0.0)

    def __exit__(self, kind: type[BaseException] | None, error: object = None, *_: object) -> None:
        unopened = getattr(error, "path", None) is not None
        if self.idle:
            return self.end()
        if kind is None:
            self.begin()
            if self.verb == "compare":  # what was found was printed already, and where it differs the rest is not done
                return self.end()
        elif self.printed < 0 and self.verb == "commit":
            if unopened:
                return None
            self.begin()
        elif self.printed < 0 and self.verb == "amend" and isinstance(error, FormatError) and not unopened:
            self.begin()  # the format itself refused
            self.done()
        return super().__exit__(kind)


class OnSignal:
    """Silent, but for one line on standard error at the step that follows a SIGUSR1."""

    def __init__(self) -> None:
        self.asked = False
        self.before: Any = None

    def __enter__(self) -> OnSignal:
        import _signal  # type: ignore[import-not-found]

        try:
            self.before = _signal.signal(_signal.SIGUSR1, self._ask)
        except ValueError:  # not the main thread: a library user's signals are not ours
            self.before = None
        return self

    def __call__(self, event: Progress) -> None:
        """Printed where a signal came since the last event."""
        if self.asked:
            self.asked = False
            output.err(f"    ({percent(event):3.2f}/100%)\n")

    def __exit__(self, *_: object) -> None:
        if self.before is not None:
            import _signal

            _signal.signal(_signal.SIGUSR1, self.before)

    def _ask(self, *_: object) -> None:
        self.asked = True
