"""The sandbox in which the kept pieces of one stream are parsed."""

from __future__ import annotations

import os
import weakref

import instar_sandbox

from instar_core import guests, limits, wire
from instar_core.compat.oslo.imageutils.safety import ImageFormatError
from instar_core.errors import ContractViolation, InstarError
from instar_core.settings import DEFAULTS
from instar_core.worker.stream.words import Verdict, Wanted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from instar_core.compat.oslo.imageutils.regions import CaptureRegion
    from instar_core.settings import Settings

PATIENCE = 4
"""A worker that has not answered in this many times its CPU budget waits for something that will not come."""
MAX = 1 << 64


class Jail:
    """One stream's sandbox, started when there is something to parse and again when it is needed after `close`.

    Of the settings, sandbox and timeout count. `broken` says why nothing that it said can be relied on: the sandbox
    could not start, or it was killed.
    """

    def __init__(self, settings: Settings = DEFAULTS) -> None:
        self.settings = settings
        self._session: instar_sandbox.Session | None = None
        self._end: weakref.finalize[[instar_sandbox.Session, int], Jail] | None = None
        self.broken = ""

    def ask(
        self, name: str, regions: Mapping[str, CaptureRegion], options: Mapping[str, Any], *, ended: bool
    ) -> Verdict:
        """What the regions say of the format `name`; `ended` says that they will hold no more. Raises
        ImageFormatError where nobody can say."""
        if self.broken:
            raise ImageFormatError(self.broken)
        pieces = {key: (region.offset, region.data, ended or region.full) for key, region in regions.items()}
        request = wire.REQUEST + wire.encode([name, pieces, dict(options)])
        try:
            if self._session is None:
                self._session = self._start()
            self._session.send(request)
            frame = self._session.receive(PATIENCE * limits.WORKER_CPU)
            tag, value = frame[:1], wire.decode(frame[1:])
            if tag == wire.VALUE:
                return verdict(value)
            raise ContractViolation(f"the examination of {name} failed: {value!s:.{limits.MESSAGE}}")
        except (instar_sandbox.JailError, InstarError, OSError) as error:
            self.broken = f"The image cannot be inspected: {error}"
            self.close()
            raise ImageFormatError(self.broken) from error

    def _start(self) -> instar_sandbox.Session:
        bounds = instar_sandbox.Limits(limits.WORKER_CPU, limits.WORKER_MEMORY, self.settings.timeout)
        place = self.settings.sandbox
        snapshot = guests.snapshot(guests.LEAN, place)
        session = instar_sandbox.start(place, instar_sandbox.Program(guests.STREAM), (), bounds, snapshot=snapshot)
        self._end = weakref.finalize(self, _closed, session, os.getpid())
        return session

    def close(self) -> None:
        """No process is left."""
        self._session = None
        if self._end is not None:
            self._end()


def _closed(session: instar_sandbox.Session, owner: int) -> None:
    """The session is closed, unless this process was forked off from the one that it belongs to."""
    if os.getpid() == owner:
        session.close()


def verdict(value: Any) -> Verdict:
    """A worker's answer, if it is one and within bounds. Raises ContractViolation."""
    if type(value) is not tuple or len(value) != len(Verdict._fields):
        raise ContractViolation("an examiner's verdict cannot be read")
    found = Verdict._make(value)
    wanted = found.wanted
    if (
        type(found.match) is not bool
        or not _number(found.size)
        or not _short(found.error)
        or type(wanted) is not tuple
        or type(found.unwanted) is not tuple
        or not all(map(_short, found.unwanted))
        or type(found.failures) is not dict
        or not all(_short(reason) for reason in found.failures.values())
        or type(found.facts) is not dict
        or not all(type(fact) in (int, bytes, str) for fact in found.facts.values())
        or len(wanted) > limits.KEPT_PIECES
    ):
        raise ContractViolation("an examiner's verdict is not what it should be")
    return found._replace(wanted=tuple([_wanted(item) for item in wanted]))


def _wanted(value: Any) -> Wanted:
    if type(value) is tuple and len(value) == len(Wanted._fields):
        name, offset, length, tail = value
        if _short(name) and _number(offset) and _number(length) and length <= limits.KEPT and type(tail) is bool:
            return Wanted(name, offset, length, tail)
    raise ContractViolation("an examiner wants a piece of the stream that cannot be")


def _number(value: Any) -> bool:
    return type(value) is int and 0 <= value < MAX


def _short(value: Any) -> bool:
    return type(value) is str and len(value) <= limits.MESSAGE and value.isprintable()
