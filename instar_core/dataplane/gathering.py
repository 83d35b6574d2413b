"""Small writes that touch one another, such as compressed clusters, done by one call."""

from __future__ import annotations

import os

from instar_core.dataplane.positional import write_from

TYPE_CHECKING = False
if TYPE_CHECKING:
    from instar_core.dataplane.allocating import Allocating

MOST = 1 << 20
"""Bytes that wait, beside one write."""
PARTS = 256
"""Writes that wait: Linux takes 1024 in one call."""


class Gathering:
    """Writes in the order in which they are given. All are done after `settle`; those before it may be done earlier."""

    __slots__ = ("_allocating", "_bytes", "_offset", "_parts", "_place", "_target")

    def __init__(self, allocating: Allocating) -> None:
        self._allocating = allocating
        self._target = -1
        self._offset = 0
        self._place = 0
        self._bytes = 0
        self._parts: list[bytes] = []

    def write(self, target: int, data: bytes, offset: int, place: int) -> None:
        """The data is on its way to `offset` of the target. `place` is where on the disk it stands, for errors.

        Raises DeviceError for what was given before.
        """
        if self._parts:
            touch = target == self._target and offset == self._offset + self._bytes
            if not touch or self._bytes >= MOST or len(self._parts) >= PARTS:
                self.settle()
        if not self._parts:
            self._target, self._offset, self._place = target, offset, place
        self._parts.append(data)
        self._bytes += len(data)

    def settle(self) -> None:
        """Everything given is in its target. Raises DeviceError."""
        if not self._parts:
            return
        parts, self._parts = self._parts, []
        length, self._bytes = self._bytes, 0
        done = 0
        self._allocating.before(self._target, self._offset, length)
        if len(parts) > 1:
            try:
                done = os.pwritev(self._target, parts, self._offset)
            except OSError:  # below it is tried in other ways, and told if none works
                done = 0
        if done < length:
            rest = memoryview(b"".join(parts))[done:]
            write_from(self._target, rest, self._offset + done, place=self._place)
