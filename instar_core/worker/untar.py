"""The program of a session that unpacks an archive: a compressed tar in, the content of its members out.

Its members may be regular files that are called as the host said, a number each, and nothing else: no link, no folder
but the one that all lie in, no sparse member. Source: POSIX.1-2017, pax, "ustar Interchange Format" and "pax Header
Block"; the tar header of GNU for long names and large sizes; RFC 1952 for the compression.
"""

from __future__ import annotations

import os
import zlib

from instar_core import limits, wire
from instar_core.errors import ErrorKind, FormatError, InstarError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from instar_core.worker.format import Channel

BLOCK = 512
INPUT = 256 << 10
PIECE = 1 << 20
GZIP = 31
"""How zlib is told that the data are those of gzip, and nothing else."""
MAGIC = b"\x1f\x8b"

MEMBER, DATA, ZEROS = b"m", b"d", b"z"
"""What a frame begins with: a member (its number and size), bytes of it, or how many zeros of it follow, in 8 bytes."""

FILE, OLD_FILE, FOLDER, NAME, LINK_NAME, PAX, PAX_ALL = b"0", b"\0", b"5", b"L", b"K", b"x", b"g"
KNOWN = {b"1": "a link", b"2": "a link", b"3": "a device", b"4": "a device", b"6": "a FIFO", b"S": "a sparse file"}


class Stream:
    """What a gzip file unpacks to, from start to end, a piece at a time."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._at = 0
        self._input = b""
        self._inflate = zlib.decompressobj(GZIP)

    def read(self, most: int) -> bytes:
        """The next bytes, at least one. Raises FormatError (TRUNCATED, CORRUPT) where there are none."""
        while True:
            if self._inflate.eof:
                self._input = self._inflate.unused_data or self._more()
                if not self._input.startswith(MAGIC):
                    raise FormatError("the archive ends in the middle", kind=ErrorKind.TRUNCATED, offset=self._at)
                self._inflate = zlib.decompressobj(GZIP)
            made = self._step(most)
            if made:
                return made

    def end(self) -> None:
        """Nothing more is wanted; the checksum of what was unpacked is right. Raises FormatError."""
        while not self._inflate.eof:
            self._step(PIECE)

    def _step(self, most: int) -> bytes:
        data = self._inflate.unconsumed_tail or self._input or self._more()
        self._input = b""
        try:
            return self._inflate.decompress(data, most)
        except zlib.error as error:
            text = f"the archive is not compressed by gzip, or damaged: {error}"
            raise FormatError(text, kind=ErrorKind.CORRUPT, offset=self._at) from error

    def whole(self, length: int) -> bytes:
        """The next `length` bytes. Raises FormatError."""
        parts = []
        while length:
            parts.append(self.read(length))
            length -= len(parts[-1])
        return b"".join(parts)

    def skip(self, length: int) -> None:
        """The next `length` bytes are gone by. Raises FormatError."""
        while length:
            length -= len(self.read(min(length, PIECE)))

    def _more(self) -> bytes:
        data = os.pread(self._descriptor, INPUT, self._at)
        if not data:
            raise FormatError("the archive ends in the middle", kind=ErrorKind.TRUNCATED, offset=self._at)
        self._at += len(data)
        return data


class Order:
    """What is to be unpacked: members called a number and this suffix, of so many bytes at the most, all together."""

    __slots__ = ("descriptor", "most", "suffix")

    def __init__(self, descriptor: int, suffix: str, most: int) -> None:
        self.descriptor = descriptor
        self.suffix = suffix
        self.most = most


def prepare(argument: bytes, descriptors: tuple[int, ...]) -> Order:
    """The archive, which is not read yet. `argument` is the suffix and the bound, on the wire."""
    suffix, most = wire.decode(argument)
    zlib.decompressobj(GZIP).decompress(zlib.compress(b"", wbits=GZIP))
    return Order(descriptors[0], suffix, most)


def serve(state: Order, channel: Channel) -> None:
    """All of the archive told, without being asked: its members, each with its content, and the end or an error."""
    try:
        _unpack(state, channel)
        channel.send(wire.DONE)
    except MemoryError:
        raise
    except InstarError as error:
        text = "".join(c if c.isprintable() else "?" for c in error.message[: limits.MESSAGE])
        channel.send(wire.ERROR + wire.encode([error.kind, text]))


def _unpack(order: Order, channel: Channel) -> None:
    stream = Stream(order.descriptor)
    left = order.most
    special: dict[str, str] = {}
    while True:
        block = stream.whole(BLOCK)
        if not any(block):
            stream.end()
            return
        kind, name, size = _header(block)
        if kind in (NAME, LINK_NAME, PAX, PAX_ALL):
            if size > limits.ARCHIVE_HEADER:
                raise FormatError("a header of the archive is too long", kind=ErrorKind.LIMIT)
            data = stream.whole(-(-size // BLOCK) * BLOCK)[:size]
            if kind in (PAX, PAX_ALL):
                found = _attributes(data)
                if kind == PAX_ALL and found:
                    raise FormatError("the archive names attributes for all members", kind=ErrorKind.UNSUPPORTED)
                special.update(found)
            elif kind == NAME:
                special["path"] = data.rstrip(b"\0").decode("utf-8", "replace")
            continue
        name = special.get("path", name)
        if "size" in special:
            size = _decimal(special["size"])
        special = {}
        if kind == FOLDER and name.rstrip("/") == ".":
            continue
        number = _number(kind, name, order.suffix)
        if size > left:
            raise FormatError(f"the archive unpacks to more than {order.most} bytes", kind=ErrorKind.LIMIT)
        left -= size
        channel.send(MEMBER + wire.encode([number, size]))
        _content(stream, size, channel)
        stream.skip(-size % BLOCK)


def _content(stream: Stream, size: int, channel: Channel) -> None:
    while size:
        data = stream.read(min(size, PIECE))
        size -= len(data)
        if data.count(0) == len(data):
            channel.send(ZEROS + len(data).to_bytes(8, "little"))
        else:
            channel.send(DATA + data)


def _header(block: bytes) -> tuple[bytes, str, int]:
    """Kind, name and size of what follows. Raises FormatError (INVALID) for a block that is no header."""
    told = _octal(block[148:156])
    if told != sum(block) - sum(block[148:156]) + 8 * 0x20:
        raise FormatError("the archive holds something that is no tar header")
    name = block[:100].partition(b"\0")[0]
    prefix = block[345:500].partition(b"\0")[0]
    if block[257:263] == b"ustar\0" and prefix:
        name = prefix + b"/" + name
    size = int.from_bytes(block[125:136], "big") if block[124] == 0x80 else _octal(block[124:136])
    return block[156:157], name.decode("utf-8", "replace"), size


def _octal(field: bytes) -> int:
    text = field.replace(b"\0", b" ").strip()
    if not text or any(each not in b"01234567" for each in text):
        raise FormatError("the archive holds something that is no tar header")
    return int(text, 8)


def _decimal(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 20:
        raise FormatError("the archive names a size that is none")
    return int(text)


def _attributes(data: bytes) -> Mapping[str, str]:
    """Path and size of a pax header, if they are there. Raises FormatError for one that makes a member sparse."""
    found: dict[str, str] = {}
    while data:
        digits, space, _ = data.partition(b" ")
        if not space or len(digits) > 6 or not digits.isdigit() or not len(digits) < int(digits) <= len(data):
            raise FormatError("a header of the archive cannot be read")
        key, _, value = data[len(digits) + 1 : int(digits)].partition(b"=")
        data = data[int(digits) :]
        if key.startswith(b"GNU.sparse"):
            raise FormatError("the archive holds a sparse file", kind=ErrorKind.REFUSED)
        if key in (b"path", b"size"):
            found[key.decode()] = value.rstrip(b"\n").decode("utf-8", "replace")
    return found


def _number(kind: bytes, name: str, suffix: str) -> int:
    """The number of a regular file that is called by it. Raises FormatError (REFUSED) for every other member."""
    if kind not in (FILE, OLD_FILE):
        what = KNOWN.get(kind, "no regular file")
        raise FormatError(f"the archive holds '{name}', which is {what}", kind=ErrorKind.REFUSED)
    digits = name.removeprefix("./").removesuffix(suffix)
    if name.removeprefix("./") != digits + suffix or not digits.isascii() or not digits.isdigit() or len(digits) > 4:
        raise FormatError(f"the archive holds '{name}', which is no part of a chain", kind=ErrorKind.REFUSED)
    if str(int(digits)) != digits:
        raise FormatError(f"the archive holds '{name}', which is no part of a chain", kind=ErrorKind.REFUSED)
    return int(digits)
