"""What one call of a hook may cost: processor time and address space."""

from __future__ import annotations

import os
import resource
import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple, NoReturn

if TYPE_CHECKING:
    from collections.abc import Iterator

STATM = "/proc/self/statm"


class Budget(NamedTuple):
    """Bounds of one call.

    `seconds` of processor time, `memory` bytes of address space beyond what is in use, and `items` of an answer that
    are looked at: a host stops there too, for its own limits are finite.
    """

    seconds: float = 10.0
    memory: int = 512 << 20
    items: int = 20_000


class OverBudget(BaseException):
    """A hook cost more than it may. No Exception, so that no hook catches it by accident."""


@contextmanager
def within(budget: Budget) -> Iterator[None]:
    """The body costs no more than the budget. Raises OverBudget.

    Time is watched in the main thread only, memory only where /proc tells how much is in use.
    """
    timed = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGPROF, _alarm) if timed else None
    space = _narrow(budget.memory)
    try:
        if timed:
            signal.setitimer(signal.ITIMER_PROF, budget.seconds)
        yield
    except MemoryError as error:
        raise OverBudget(f"it wanted more than {budget.memory >> 20} MiB of memory") from error
    finally:
        if timed:
            signal.setitimer(signal.ITIMER_PROF, 0)
            signal.signal(signal.SIGPROF, before if before is not None else signal.SIG_DFL)
        if space is not None:
            resource.setrlimit(resource.RLIMIT_AS, space)


def _alarm(*_: object) -> NoReturn:
    raise OverBudget("it took more processor time than it may")


def _narrow(memory: int) -> tuple[int, int] | None:
    """The address space is limited to what is in use and `memory` more; returns the limits from before."""
    try:
        with open(STATM, encoding="ascii") as file:
            used = int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return None
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    wanted = used + memory
    if soft != resource.RLIM_INFINITY and soft <= wanted:
        return None
    resource.setrlimit(resource.RLIMIT_AS, (wanted, hard))
    return soft, hard
