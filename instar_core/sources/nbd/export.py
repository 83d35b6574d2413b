"""An NBD export as a source: requests of any place and length as those that its server takes. Units are bytes."""

from __future__ import annotations

import errno

from instar_core import limits
from instar_core.errors import DeviceError
from instar_core.sources.backend import Backend
from instar_core.sources.nbd import address, handshake, layout
from instar_core.sources.nbd.client import Client
from instar_core.sources.nbd.stream import Stream

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Final

PAYLOAD: Final = 1 << 20
"""Content of one request: what every server takes."""
RANGE: Final = 1 << 30
"""Bytes that a request without content is for: a multiple of every least unit that fits 32 bits."""


class Export(Backend):
    """A connected export."""

    driver = "nbd"

    def __init__(self, where: address.Address, write: bool) -> None:
        self.shown = where.shown
        stream = Stream(where)
        try:
            self._agreed = handshake.agree(stream, where.export)
            if self._agreed.size > limits.VIRTUAL_SIZE:
                raise DeviceError(f"the export claims to have {self._agreed.size} bytes")
        except BaseException:
            stream.close()
            raise
        self._client = Client(stream, self._agreed)
        self._unit = self._agreed.minimum
        self._flags = self._agreed.flags if self._agreed.flags & layout.HAS_FLAGS else 0
        self._whole = self._agreed.size // self._unit * self._unit
        self.size = self._whole
        self.writable = write and not self._flags & layout.READ_ONLY

    def read(self, offset: int, length: int) -> bytes:
        """Exactly these bytes."""
        start = offset - offset % self._unit
        end = offset + length + -(offset + length) % self._unit
        made = bytearray()
        for at in range(start, end, PAYLOAD):
            made += self._client.read(at, min(PAYLOAD, end - at))
        return bytes(made if len(made) == length else made[offset - start : offset - start + length])

    def write(self, offset: int, data: bytes | memoryview) -> None:
        """The export holds these bytes there; the rest of the units that they are parts of stays."""
        before, after = offset % self._unit, -(offset + len(data)) % self._unit
        if before or after:
            end = offset + len(data)
            head = self.read(offset - before, before) if before else b""
            tail = self.read(end, after) if after else b""
            data, offset = head + bytes(data) + tail, offset - before
        view = memoryview(data)
        for at in range(0, len(view), PAYLOAD):
            self._client.write(offset + at, view[at : at + PAYLOAD])

    def zero(self, offset: int, length: int, punch: bool) -> None:
        """The range reads as zeros, by the server's own means where it has any."""
        if not self._flags & layout.SEND_WRITE_ZEROES:
            super().zero(offset, length, punch)
        end = offset + length
        first = min(end, offset + -offset % self._unit)
        last = max(first, end - end % self._unit)
        if first > offset:
            self.write(offset, bytes(first - offset))
        for at in range(first, last, RANGE):
            flags = 0 if punch else layout.NO_HOLE
            try:
                self._client.plain(layout.CMD_WRITE_ZEROES, at, min(RANGE, last - at), flags)
            except DeviceError as error:
                if error.errno != errno.EINVAL:
                    raise
                self._flags &= ~layout.SEND_WRITE_ZEROES  # as old servers answer although they announced it
                super().zero(offset, length, punch)
        if end > last:
            self.write(last, bytes(end - last))

    def flush(self) -> None:
        """All that was written is on stable storage, as far as the server can see to that."""
        if self._flags & layout.SEND_FLUSH:
            self._client.plain(layout.CMD_FLUSH)

    def extents(self, offset: int, length: int) -> Iterator[tuple[int, bool]]:
        """What the server says of base:allocation: a hole is what it says reads as zeros."""
        if self._agreed.context is None:
            yield length, True
            return
        start = offset - offset % self._unit
        wanted = min(RANGE, offset + length - start + -(offset + length) % self._unit)
        at = start
        for size, flags in self._client.status(start, wanted):
            at += size
            if at > offset:
                yield at - max(offset, at - size), not flags & layout.STATE_ZERO

    def close(self) -> None:
        """The connection has ended as the protocol wants it."""
        self._client.disconnect()


def opened(name: str, write: bool) -> Export:
    """The export of that name. Raises DeviceError and UsageError."""
    return Export(address.parse(name), write)
