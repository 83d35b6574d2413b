"""A file of a web server as a source: read range by range, where the server can do that, and else as a whole."""

from __future__ import annotations

import errno

from instar_core import limits
from instar_core.errors import DeviceError
from instar_core.sources.backend import Backend
from instar_core.sources.web.client import Client, Passing, refused

TYPE_CHECKING = False
if TYPE_CHECKING:
    import http.client
    from collections.abc import Iterator
    from typing import Final, NamedTuple
else:
    from instar_core.record import NamedTuple

BLOCK: Final = 1 << 20
PARTIAL, WHOLE, UNSATISFIABLE = 206, 200, 416


class State(NamedTuple):
    """What tells one state of a file from another: its size, and what the server calls it."""

    size: int | None
    tag: str | None
    modified: str | None


class File(Backend):
    """A file that is there."""

    block = BLOCK

    def __init__(self, name: str) -> None:
        self._client = Client(name)
        self.shown = self._client.first.url
        self._state, self.anywhere = self._client.get({"Range": "bytes=0-0"}, _first)
        self.size = self._state.size
        if not self.anywhere:
            self._client.close()  # with the whole file on its way

    def read(self, offset: int, length: int) -> bytes:
        """Exactly these bytes, of the state that the file had when it was opened."""
        last = offset + length - 1

        def take(answer: http.client.HTTPResponse) -> bytes:
            if answer.status == WHOLE:
                raise DeviceError("the server does not send ranges any more", errno=errno.EIO)
            if answer.status != PARTIAL:
                raise refused(answer)
            _plain(answer)
            start, end, size = _range(answer)
            found = State(size, *_names(answer))
            if found != self._state:
                raise DeviceError("the file was changed on the server while it was read", errno=errno.EIO)
            if (start, end) != (offset, last):
                raise DeviceError(f"the server sent bytes {start} to {end} for {offset} to {last}", errno=errno.EIO)
            if answer.length is not None and answer.length != length:
                raise DeviceError(f"the server sent {answer.length} bytes for {length}", errno=errno.EIO)
            data = answer.read(length)
            if len(data) != length:
                raise Passing("the server sent less than it announced")
            if answer.length is None and answer.read(1):
                raise DeviceError("the server sent more than was asked for", errno=errno.EIO)
            return data

        return self._client.get({"Range": f"bytes={offset}-{last}"}, take)

    def stream(self) -> Iterator[bytes]:
        """The whole file. There is no second attempt: it would begin anew."""
        answer = self._client.get({}, _whole)
        while True:
            try:
                data = answer.read(BLOCK)
            except (OSError, ValueError) as error:
                raise DeviceError(f"the connection broke: {error}", errno=errno.EIO) from error
            if not data:
                break
            yield data
        if answer.length:
            raise DeviceError("the connection ended too early", errno=errno.EIO)

    def close(self) -> None:
        """The connection has ended."""
        self._client.close()


def _first(answer: http.client.HTTPResponse) -> tuple[State, bool]:
    """What the server says of the file, asked for its first byte; and whether it sends ranges."""
    if answer.status == UNSATISFIABLE:
        answer.read(BLOCK)
        if answer.headers.get("Content-Range", "").replace(" ", "") == "bytes*/0":
            return State(0, *_names(answer)), True
        raise refused(answer)
    if answer.status == WHOLE:
        length = answer.length
        names = _names(answer)
        _plain(answer)
        answer.close()
        if length is not None and length > limits.VIRTUAL_SIZE:
            raise DeviceError(f"the server claims that the file has {length} bytes")
        return State(length, *names), False
    if answer.status != PARTIAL:
        raise refused(answer)
    _plain(answer)
    start, end, size = _range(answer)
    if (start, end) != (0, 0) or size is None or len(answer.read(2)) != 1:
        raise DeviceError("the server does not send the range that it was asked for", errno=errno.EIO)
    return State(size, *_names(answer)), True


def _whole(answer: http.client.HTTPResponse) -> http.client.HTTPResponse:
    if answer.status != WHOLE:
        raise refused(answer)
    _plain(answer)
    return answer


def _range(answer: http.client.HTTPResponse) -> tuple[int, int, int | None]:
    """First and last byte, and the size of the whole, None where the server does not know it. Raises DeviceError."""
    text = answer.headers.get("Content-Range", "")
    unit, _, rest = text.partition(" ")
    span, _, whole = rest.strip().partition("/")
    start, _, end = span.partition("-")
    numbers = [number for number in (start, end, whole) if number.isascii() and number.isdecimal() and len(number) < 20]
    if unit != "bytes" or len(numbers) != 3 - (whole == "*"):
        raise DeviceError("the server does not say which range it sends", errno=errno.EIO)
    return int(start), int(end), None if whole == "*" else int(whole)


def _names(answer: http.client.HTTPResponse) -> tuple[str | None, str | None]:
    return answer.headers.get("ETag"), answer.headers.get("Last-Modified")


def _plain(answer: http.client.HTTPResponse) -> None:
    """Raises DeviceError where the body is not the file's own bytes."""
    coding = answer.headers.get("Content-Encoding", "identity")
    if coding.lower() != "identity":
        raise DeviceError(f"the server sends the file as {coding}, which was not asked for", errno=errno.EIO)


def opened(name: str, write: bool) -> File:
    """The file of that name, for reading. Raises DeviceError."""
    if write:
        raise DeviceError("files of web servers can only be read", errno=errno.EROFS)
    return File(name)
