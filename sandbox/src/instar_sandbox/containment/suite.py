"""A sandbox tried with every deed: whether each was contained, by what end, and whether anything was harmed."""

from __future__ import annotations

import os
from time import monotonic
from typing import TYPE_CHECKING, NamedTuple

from instar_sandbox.containment import deeds
from instar_sandbox.containment.canary import Canary
from instar_sandbox.containment.catalogue import DEEDS, THOROUGH
from instar_sandbox.containment.deed import Deed
from instar_sandbox.errors import TEXT, JailError, printable
from instar_sandbox.program import Program

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from instar_sandbox.program import Limits
    from instar_sandbox.session import Session

    Start = Callable[[Program, list[int], Limits], Session]

GRACE = 10
"""Seconds past its limits after which a session counts as endless."""
LONGEST = TEXT + 200
"""Characters of the message of an error, whatever the worker says."""
REFUSED = "refused"
SURVIVED = "survived"


class Outcome(NamedTuple):
    """What came of a deed.

    `cause` is the end of the session (errors.Cause), or `refused` or `survived` where it went on; several are divided
    by commas. `text` is the message, and where the deed is not contained what is wrong. `left_out` says why it was not
    tried here, if it was not; such a deed counts as contained.
    """

    deed: Deed
    contained: bool
    cause: str
    text: str
    seconds: float
    left_out: str = ""


def run(start: Start, names: Iterable[str] | None = None) -> Iterator[Outcome]:
    """What came of each deed, in order: of all but the thorough ones, or of those named.

    `start` gives a session of the sandbox that is tried. Raises KeyError for a name that no deed has; NoPlatform passes
    through, and OSError if nothing can be started.
    """
    chosen = DEEDS if names is None else [named(name) for name in names]
    with Canary() as canary:
        for deed in chosen:
            yield tried(start, canary, deed)


def named(name: str) -> Deed:
    """The deed of this name. Raises KeyError."""
    for deed in (*DEEDS, *THOROUGH):
        if deed.name == name:
            return deed
    raise KeyError(name)


def tried(start: Start, canary: Canary, deed: Deed) -> Outcome:
    """What came of all orders of a deed; the first that is not contained ends it."""
    began = monotonic()
    if deed.machine and deed.machine != os.uname().machine:
        return Outcome(deed, True, "", "", 0.0, f"for {deed.machine} only")
    causes: dict[str, str] = {}
    for order in deed.orders:
        contained, cause, text = _ordered(start, canary, deed, order)
        if cause == "absent":
            return Outcome(deed, True, "", "", monotonic() - began, text)
        harms = canary.harms()
        if harms or not contained:
            text = "; ".join([f"{order.decode()}: {text}", *harms])
            return Outcome(deed, False, cause, text, monotonic() - began)
        causes.setdefault(cause, text)
    return Outcome(deed, True, ", ".join(causes), next(iter(causes.values())), monotonic() - began)


def _ordered(start: Start, canary: Canary, deed: Deed, order: bytes) -> tuple[bool, str, str]:
    """(contained, cause, text) of one order, in a session of its own."""
    with start(Program(deeds.__name__, canary.argument), canary.descriptors, deed.limits) as session:
        try:
            if session.receive() != deeds.READY:
                return False, "", "the session does not begin as it should"
        except JailError as error:
            return False, error.cause, f"a session does not start after what was done before: {error}"
        try:
            session.send(order)
            answer = _heard(session, deed)
            if answer.startswith(b"absent: "):
                return True, "absent", printable(answer[8:].decode())
            said = printable(answer.decode("ascii", "replace"))
            if not answer.startswith(deed.survives):
                return False, SURVIVED, said
            session.send(deeds.STILL)
            if _heard(session, deed) != deeds.STILL:
                return False, SURVIVED, f"{said}, but the session goes on wrongly"
        except JailError as error:
            message = str(error)
            if not message.isprintable() or len(message) > LONGEST:
                return False, error.cause, f"an error that is not fit to print: {message!a:.200}"
            return error.cause in deed.causes, error.cause, message
        except TimeoutError as error:
            return False, "", str(error)
    return True, REFUSED if answer.startswith(b"refused") else SURVIVED, said


KNOWN = (b"survived: ", b"refused: ", b"absent: ", b"broken: ", deeds.STILL)


def _heard(session: Session, deed: Deed) -> bytes:
    """The next answer; what is none is passed over.

    Raises JailError, and TimeoutError for a session that outlives its limits.
    """
    end = monotonic() + (deed.limits.wall or 0) + GRACE
    while monotonic() < end:
        answer = session.receive()
        if answer == deeds.MORE:
            session.send(bytes(64))
        elif answer.startswith(KNOWN):
            return answer
    raise TimeoutError("the session goes on past its deadline")
