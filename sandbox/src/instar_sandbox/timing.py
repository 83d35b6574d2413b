"""How quick a sandbox is here, measured now: from the order for a worker to its first answer, and to the next one."""

from __future__ import annotations

import os
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING, NamedTuple

from instar_sandbox.errors import Cause, JailError
from instar_sandbox.kvm import trial
from instar_sandbox.platforms import start
from instar_sandbox.program import Limits, Program

if TYPE_CHECKING:
    from instar_sandbox.kvm.store import Snapshot

SESSIONS = 5
JOBS = 9
"""Further questions to each session."""
PATIENCE = 30
"""Seconds after which a session is given up."""
ARGUMENT, QUESTION = b"timing", b""


class Speed(NamedTuple):
    """Medians, in seconds: `first` from fork to the first answer, `next` from one question to its answer."""

    first: float
    next: float


def speed(platform: str, memory: int, snapshot: Snapshot | None = None) -> Speed:
    """What a worker with `memory` bytes of address space takes. Raises JailError where it gives no right answer."""
    firsts: list[float] = []
    others: list[float] = []
    file = os.open(__file__, os.O_RDONLY | os.O_CLOEXEC)
    try:
        expected = trial.answer(ARGUMENT, file, QUESTION)
        for _ in range(SESSIONS):
            began = perf_counter()
            with start(
                platform, Program(trial.__name__, ARGUMENT), [file], Limits(PATIENCE, memory, PATIENCE),
                snapshot=snapshot,
            ) as session:  # fmt: skip
                for number in range(1 + JOBS):
                    session.send(QUESTION)
                    said = session.receive()
                    now = perf_counter()
                    (others if number else firsts).append(now - began)
                    if said != expected:
                        raise JailError("the worker computes something else than its host", Cause.CRASH)
                    began = perf_counter()
    finally:
        os.close(file)
    return Speed(median(firsts), median(others))
