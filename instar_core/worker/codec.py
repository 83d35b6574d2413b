"""The program of a codec session: it encodes or decodes pieces that lie in memory shared with the host.

`prepare` runs before the walls: it imports the codec and maps the arena, so that no piece crosses the channel. Requests
are tables of places in the arena; an answer is the lengths of what was made, or which piece failed and why. A worker
whose codec cannot be had at all answers every request by saying so.
"""

from __future__ import annotations

from struct import Struct

from instar_sandbox import shared

from instar_core import limits, wire
from instar_core.codecs import CODINGS, PLUGIN, decoder, encoder
from instar_core.errors import ErrorKind, FormatError, InstarError
from instar_core.worker import lent

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, Protocol

    from instar_core.codecs import Code

    class Channel(Protocol):
        """The worker's end of a session."""

        def send(self, frame: bytes) -> None:
            """Send a frame to the host."""

        def receive(self) -> bytes:
            """Wait for a frame of the host. Raises EOFError at the end."""


ENTRY = Struct("<QQQQQ")
"""Of a request: offset and length of the source, offset and length of the room for the result, first sector's number"""

MADE = Struct("<I")
"""Of an answer: length of one result"""

FAILED = Struct("<I")
"""Of a failure: index of the piece; then the lengths of the results before it, then the error (see `told`)"""

LENGTHS, FAILURE, UNABLE = b"+", b"!", b"-"


class State:
    """The codec and the arena that it works in; or why there is no codec."""

    __slots__ = ("arena", "code", "failure")

    def __init__(self, code: Code | None, arena: memoryview, failure: Exception | None = None) -> None:
        self.code = code
        self.arena = arena
        self.failure = failure


def prepare(argument: bytes, descriptors: tuple[int, ...]) -> State:
    """The codec imported, the arena (descriptor 0) at hand.

    `argument` is a mapping on the wire: direction (decode or encode), name, params, unit, size of the arena.
    """
    order = wire.decode(argument)
    arena = shared.view(descriptors[0], order["size"])
    try:
        return State(_code(order), arena)
    except MemoryError:
        raise
    except Exception as error:  # a library or a plugin may fail in any way when imported; the host is told
        return State(None, arena, error)


def _code(order: Mapping[str, Any]) -> Code:
    name, params, unit = order["name"], order["params"], order["unit"]
    if order["direction"] == "encode":
        return encoder(name)(params, unit)
    if name not in CODINGS and PLUGIN in params:
        return lent.decoder(params, unit)
    return decoder(name)(params, unit)


def serve(state: State, channel: Channel) -> None:
    """Requests answered until the host hangs up."""
    while True:
        try:
            request = channel.receive()
        except EOFError:
            return
        channel.send(answer(state, request))


def answer(state: State, request: bytes) -> bytes:
    """Every piece of one request coded, up to the first that fails."""
    arena, code = state.arena, state.code
    if code is None:
        return UNABLE + told(state.failure)
    made: list[int] = []
    why: Exception | None = None
    try:
        for source, length, room, capacity, number in ENTRY.iter_unpack(request):
            if max(source + length, room + capacity) > len(arena):
                raise FormatError("a piece lies outside the arena")
            made.append(code(arena[source : source + length], arena[room : room + capacity], number))
    except MemoryError:
        raise
    except Exception as error:  # a codec fails in ways of its own; the host only needs to know that it did
        why = error
    lengths = b"".join([MADE.pack(length) for length in made])
    if why is None:
        return LENGTHS + lengths
    return b"".join([FAILURE, FAILED.pack(len(made)), lengths, told(why)])


def told(error: Exception | None) -> bytes:
    """An error for the host: name of its class, kind, message and hint."""
    if isinstance(error, InstarError):
        name, kind, text, hint = type(error).__name__, error.kind, error.message, error.hint
    else:
        name, kind, text, hint = "FormatError", ErrorKind.CORRUPT, f"{type(error).__name__}: {error}", ""
    return wire.encode([name, kind, _printable(text), _printable(hint)])


def _printable(text: str) -> str:
    return "".join([c if c.isprintable() else "?" for c in text[: limits.MESSAGE]])
