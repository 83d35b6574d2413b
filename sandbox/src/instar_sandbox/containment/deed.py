"""What a deed is: its orders to the hostile program, and the ends that are right for it."""

from __future__ import annotations

from typing import NamedTuple

from instar_sandbox.errors import Cause
from instar_sandbox.program import Limits

MEMORY = 384 << 20
QUICK = Limits(cpu=10, memory=MEMORY, wall=20)
"""Generous where time should not matter: a machine may be busy."""
SPINNING = Limits(cpu=1, memory=MEMORY, wall=20)
WAITING = Limits(cpu=5, memory=MEMORY, wall=0.7)

FORBIDDEN = frozenset({Cause.FORBIDDEN})
CRASH = frozenset({Cause.CRASH})
FORBIDDEN_OR_CRASH = FORBIDDEN | CRASH
CPU = frozenset({Cause.CPU})
MEMORY_LIMIT = frozenset({Cause.MEMORY})
DEADLINE = frozenset({Cause.DEADLINE})
CUT = frozenset({Cause.CUT})
NEVER: frozenset[str] = frozenset()
"""Refused to its face, or not contained."""

X86_64 = "x86_64"


class Deed(NamedTuple):
    """A hostile deed. Each order is done in a session of its own; it is contained if every one of them is.

    `causes` are those of errors.Cause that may end the session. `survives` are beginnings of answers that are harmless
    too: a refusal, or a result that is worth nothing. `machine` names the only architecture that has such a deed.
    """

    name: str
    group: str
    title: str
    causes: frozenset[str]
    orders: tuple[bytes, ...]
    survives: tuple[bytes, ...] = ()
    limits: Limits = QUICK
    machine: str = ""
