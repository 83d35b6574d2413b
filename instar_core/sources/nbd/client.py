"""Requests to an NBD server, one at a time. Source: doc/proto.md of the NBD project, "Transmission"."""

from __future__ import annotations

import errno

from instar_core.errors import DeviceError
from instar_core.sources.nbd import layout

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from instar_core.sources.nbd.handshake import Agreed
    from instar_core.sources.nbd.stream import Stream

PIECES: Final = 1 << 16
"""Most chunks of one reply."""
STATUS: Final = 1 << 20
"""Most bytes of a chunk that describes stretches."""
TEXT: Final = 4096
"""Longest message of an error: the protocol's own bound of strings."""
REFUSALS: Final = {1: errno.EPERM, 12: errno.ENOMEM, 22: errno.EINVAL, 28: errno.ENOSPC, 95: errno.EOPNOTSUPP}
"""Errors of the protocol that are told apart; every other is EIO."""


class Client:
    """An agreed connection. Requests lie inside the export and on its least unit. All raise DeviceError."""

    def __init__(self, stream: Stream, agreed: Agreed) -> None:
        self._stream = stream
        self._agreed = agreed
        self._cookie = 0

    def read(self, offset: int, length: int) -> bytearray:
        """These bytes."""
        made = bytearray(length)
        self._ask(layout.CMD_READ, offset, length)
        if self._reply(layout.CMD_READ, offset, memoryview(made)) < length:
            raise self._garbled("a read left bytes out")
        return made

    def write(self, offset: int, data: bytes | memoryview) -> None:
        """The export holds these bytes there."""
        self._ask(layout.CMD_WRITE, offset, len(data), 0, data)
        self._reply(layout.CMD_WRITE)

    def plain(self, command: int, offset: int = 0, length: int = 0, flags: int = 0) -> None:
        """A request without content has been carried out."""
        self._ask(command, offset, length, flags)
        self._reply(command)

    def status(self, offset: int, length: int) -> list[tuple[int, int]]:
        """Stretches from `offset` on, as length and flags: at least one."""
        self._ask(layout.CMD_BLOCK_STATUS, offset, length)
        found: list[tuple[int, int]] = []
        self._reply(layout.CMD_BLOCK_STATUS, stretches=found)
        if not found:
            raise self._garbled("it does not say what lies there")
        return found

    def disconnect(self) -> None:
        """The server knows that nothing more will come."""
        try:
            self._ask(layout.CMD_DISC, 0, 0)
        except DeviceError:  # it knows already
            return
        finally:
            self._stream.close()

    def _ask(self, command: int, offset: int, length: int, flags: int = 0, *data: bytes | memoryview) -> None:
        self._cookie = self._cookie + 1 & (1 << 64) - 1
        request = layout.REQUEST.pack(layout.REQUEST_MAGIC, flags, command, self._cookie, offset, length)
        self._stream.send(request, *data)

    def _reply(
        self,
        command: int,
        offset: int = 0,
        view: memoryview | None = None,
        stretches: list[tuple[int, int]] | None = None,
    ) -> int:
        """The reply has been taken; how many bytes it filled in. Raises DeviceError for one that is an error."""
        filled = 0
        refused: DeviceError | None = None
        for _ in range(PIECES):
            magic = int.from_bytes(self._stream.take(4), "big")
            if magic == layout.SIMPLE_MAGIC and not filled and refused is None:
                return self._simple(command, view)
            if magic != layout.STRUCTURED_MAGIC or not self._agreed.structured:
                raise self._garbled("a reply does not begin like one")
            flags, kind, cookie, length = layout.CHUNK.unpack(self._stream.take(layout.CHUNK.size))
            if cookie != self._cookie:
                raise self._garbled("a reply is for another request")
            if kind & layout.CHUNK_ERROR:
                refused = refused or self._error(length)
            elif kind == layout.CHUNK_OFFSET_DATA and view is not None:
                filled += self._data(offset, view, length, filled)
            elif kind == layout.CHUNK_OFFSET_HOLE and view is not None:
                filled += self._hole(offset, view, length, filled)
            elif kind == layout.CHUNK_BLOCK_STATUS and stretches is not None:
                self._stretches(stretches, length)
            elif kind != layout.CHUNK_NONE or length:
                raise self._garbled(f"a chunk of the kind {kind}")
            if flags & layout.CHUNK_DONE:
                if refused is not None:
                    raise refused
                return filled
        raise self._garbled("a reply has no end")

    def _simple(self, command: int, view: memoryview | None) -> int:
        error, cookie = layout.SIMPLE.unpack(self._stream.take(layout.SIMPLE.size))
        if cookie != self._cookie:
            raise self._garbled("a reply is for another request")
        if error:
            raise refusal(error)
        if command == layout.CMD_BLOCK_STATUS or (view is not None and self._agreed.structured):
            raise self._garbled("a simple reply to a request that wants a structured one")
        if view is None:
            return 0
        self._stream.into(view)
        return len(view)

    def _data(self, offset: int, view: memoryview, length: int, filled: int) -> int:
        size = length - 8
        at = int.from_bytes(self._stream.take(8), "big") - offset if size > 0 else -1
        self._fits(at, size, view, filled)
        self._stream.into(view[at : at + size])
        return size

    def _hole(self, offset: int, view: memoryview, length: int, filled: int) -> int:
        if length != layout.HOLE.size:
            raise self._garbled("a hole of the wrong form")
        start, size = layout.HOLE.unpack(self._stream.take(length))
        self._fits(start - offset, size, view, filled)
        return int(size)  # zeros are there already

    def _fits(self, at: int, size: int, view: memoryview, filled: int) -> None:
        if at < 0 or size <= 0 or at + size > len(view) or filled + size > len(view):
            raise self._garbled("a reply has bytes that nobody asked for")

    def _stretches(self, found: list[tuple[int, int]], length: int) -> None:
        unit = layout.DESCRIPTOR.size
        if length < 4 + unit or length > STATUS or (length - 4) % unit or found:
            raise self._garbled("stretches of the wrong form")
        body = self._stream.take(length)
        if int.from_bytes(body[:4], "big") != self._agreed.context:
            raise self._garbled("stretches of a context that was not agreed on")
        found += layout.DESCRIPTOR.iter_unpack(body[4:])
        if any(not size for size, _ in found):
            raise self._garbled("a stretch without length")

    def _error(self, length: int) -> DeviceError:
        if not layout.FAILURE.size <= length <= TEXT + 64:
            raise self._garbled("an error of the wrong form")
        body = self._stream.take(length)
        code, size = layout.FAILURE.unpack_from(body)
        text = bytes(body[layout.FAILURE.size :][:size]).decode("utf-8", "replace")
        if not code:
            raise self._garbled("an error without a number")
        return refusal(code, text)

    def _garbled(self, why: str) -> DeviceError:
        return self._stream.broken(f"what the NBD server says cannot be understood: {why}")


def refusal(code: int, text: str = "") -> DeviceError:
    """The error that a server answered with."""
    words = layout.ERRORS.get(code, f"error {code}")
    return DeviceError(f"the NBD server says: {text or words}", errno=REFUSALS.get(code, errno.EIO))
