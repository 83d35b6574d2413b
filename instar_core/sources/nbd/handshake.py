"""Agreeing with an NBD server on an export. Source: doc/proto.md of the NBD project, "Newstyle negotiation"."""

from __future__ import annotations

import errno

from instar_core.errors import DeviceError
from instar_core.sources.nbd import layout

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final, NamedTuple

    from instar_core.sources.nbd.stream import Stream
else:
    from instar_core.record import NamedTuple

LONGEST: Final = 64 << 10
"""Bytes of an answer to an option: several strings of 4,096."""
MOST: Final = 256
"""Answers to one option."""
LARGEST_MINIMUM: Final = 64 << 10
"""Bytes of the largest minimum block size: the protocol's own bound."""


class Agreed(NamedTuple):
    """An export: size, transmission flags, whether replies are structured, the id of base:allocation (None: it is not
    told), and the least unit of requests, all in bytes."""

    size: int
    flags: int
    structured: bool = False
    context: int | None = None
    minimum: int = 1


def agree(stream: Stream, export: str) -> Agreed:
    """The server is ready for requests to the export. Raises DeviceError."""
    name = export.encode("utf-8", "surrogateescape")
    if bytes(stream.take(8)) != layout.NBDMAGIC:
        raise _garbled("it is no NBD server")
    magic = bytes(stream.take(8))
    if magic == layout.OLDSTYLE:
        size, flags = layout.OLD_EXPORT.unpack(stream.take(layout.OLD_EXPORT.size))
        stream.take(layout.ZEROES)
        if name:
            raise DeviceError("Server does not support non-empty export names", errno=errno.EINVAL)
        return Agreed(size, flags & 0xFFFF)
    if magic != layout.IHAVEOPT:
        raise _garbled("it is no NBD server")
    flags = int.from_bytes(stream.take(2), "big")
    fixed = bool(flags & layout.FLAG_FIXED_NEWSTYLE)
    bare = bool(flags & layout.FLAG_NO_ZEROES)
    ours = layout.FLAG_FIXED_NEWSTYLE * fixed | layout.FLAG_NO_ZEROES * bare
    stream.send(ours.to_bytes(4, "big"))
    if fixed:
        structured = _structured(stream)
        context = _context(stream, name) if structured else None
        found = _go(stream, export, name)
        if found is not None:
            return found._replace(structured=structured, context=context)
    stream.send(layout.OPTION.pack(layout.IHAVEOPT, layout.OPT_EXPORT_NAME, len(name)), name)
    size, told = layout.EXPORT.unpack(stream.take(layout.EXPORT.size))
    if not bare:
        stream.take(layout.ZEROES)
    return Agreed(size, told, fixed and structured, context if fixed else None)


def _structured(stream: Stream) -> bool:
    _ask(stream, layout.OPT_STRUCTURED_REPLY, b"")
    kind, text = _answer(stream, layout.OPT_STRUCTURED_REPLY)
    if kind == layout.REP_ERR_TLS_REQD:
        raise _refused(kind, text, "")
    return kind == layout.REP_ACK


def _context(stream: Stream, name: bytes) -> int | None:
    query = len(name).to_bytes(4, "big") + name + (1).to_bytes(4, "big")
    query += len(layout.CONTEXT).to_bytes(4, "big") + layout.CONTEXT
    _ask(stream, layout.OPT_SET_META_CONTEXT, query)
    found = None
    for _ in range(MOST):
        kind, body = _answer(stream, layout.OPT_SET_META_CONTEXT)
        if kind == layout.REP_META_CONTEXT:
            if len(body) < 4 or body[4:] != layout.CONTEXT or found is not None:
                raise _garbled("it offers a metadata context that it was not asked for")
            found = int.from_bytes(body[:4], "big")
        elif kind == layout.REP_ACK:
            return found
        elif kind & layout.REP_ERROR:
            return None
        else:
            raise _garbled(f"answer {kind} to a question for metadata contexts")
    raise _garbled("it answers without end")


def _go(stream: Stream, export: str, name: bytes) -> Agreed | None:
    """What the server says of the export; None where it does not know the option."""
    wanted = (1).to_bytes(2, "big") + layout.INFO_BLOCK_SIZE.to_bytes(2, "big")
    _ask(stream, layout.OPT_GO, len(name).to_bytes(4, "big") + name + wanted)
    found, minimum = None, 1
    for _ in range(MOST):
        kind, body = _answer(stream, layout.OPT_GO)
        if kind == layout.REP_ACK:
            if found is None:
                raise _garbled("it does not say how large the export is")
            return found._replace(minimum=minimum)
        if kind == layout.REP_ERR_UNSUP:
            return None
        if kind & layout.REP_ERROR:
            raise _refused(kind, body, export)
        if kind != layout.REP_INFO or len(body) < 2:
            raise _garbled(f"answer {kind} to a question for an export")
        about, rest = int.from_bytes(body[:2], "big"), body[2:]
        if about == layout.INFO_EXPORT:
            if len(rest) != layout.EXPORT.size:
                raise _garbled("what it says of the export has the wrong length")
            found = Agreed(*layout.EXPORT.unpack(rest))
        elif about == layout.INFO_BLOCK_SIZE:
            if len(rest) != layout.BLOCK_SIZE.size:
                raise _garbled("what it says of block sizes has the wrong length")
            minimum = layout.BLOCK_SIZE.unpack(rest)[0]
            if not 0 < minimum <= LARGEST_MINIMUM or minimum & minimum - 1:
                raise _garbled(f"{minimum} is no least size of blocks")
    raise _garbled("it answers without end")


def _ask(stream: Stream, option: int, body: bytes) -> None:
    stream.send(layout.OPTION.pack(layout.IHAVEOPT, option, len(body)) + body)


def _answer(stream: Stream, option: int) -> tuple[int, bytes]:
    magic, asked, kind, length = layout.REPLY.unpack(stream.take(layout.REPLY.size))
    if magic != layout.REPLY_MAGIC or asked != option or length > LONGEST:
        raise _garbled("its answer to an option is none")
    return kind, bytes(stream.take(length))


def _refused(kind: int, body: bytes, export: str) -> DeviceError:
    told = {
        layout.REP_ERR_POLICY: ("Denied by server for option 7 (go)", errno.EACCES),
        layout.REP_ERR_TLS_REQD: ("the NBD server wants TLS, which is not spoken here: use a tunnel", errno.EPROTO),
        layout.REP_ERR_UNKNOWN: ("Requested export not available", errno.ENOENT),
        layout.REP_ERR_SHUTDOWN: ("Server shutting down before option 7 (go)", errno.ESHUTDOWN),
    }
    text, code = told.get(kind, (f"the NBD server refuses the export '{export}' ({kind & 0xFFFF})", errno.EINVAL))
    error = DeviceError(text, errno=code)
    reason = body.decode("utf-8", "replace")
    error.hint = f"server reported: {reason}" if reason else ""
    return error


def _garbled(why: str) -> DeviceError:
    return DeviceError(f"what the NBD server says cannot be understood: {why}", errno=errno.EPROTO)
