"""Frames on a pipe: a 4-byte little-endian length, then that many bytes.

The length's top bit marks a worker's last words (`LAST`): one letter of its cause and a text.
"""

from __future__ import annotations

import os

from instar_sandbox.program import MAX_FRAME

TYPE_CHECKING = False
if TYPE_CHECKING:
    Buffer = bytes | bytearray | memoryview

LAST = 1 << 31
READ = 256 << 10
TOGETHER = 64 << 10
"""Frames up to this size go out in one write with their length."""


class FrameTooLarge(Exception):
    """A peer announced a frame of more bytes than the limit."""


class Assembly:
    """Frames put together from the pieces in which they arrive. Holds at most one frame and one read."""

    __slots__ = ("_data", "limit")

    def __init__(self, limit: int = MAX_FRAME) -> None:
        self._data = bytearray()
        self.limit = limit

    def add(self, piece: bytes) -> None:
        """The piece is part of what take() sees."""
        self._data += piece

    def take(self) -> tuple[bool, bytes] | None:
        """(these are last words, payload) of the next frame if all of it has arrived.

        Raises FrameTooLarge as soon as its length is known.
        """
        data = self._data
        if len(data) < 4:
            return None
        word = int.from_bytes(data[:4], "little")
        length = word & ~LAST
        if length > self.limit:
            raise FrameTooLarge(f"a frame of {length} bytes, more than the {self.limit} allowed")
        if len(data) < 4 + length:
            return None
        with memoryview(data) as view:
            payload = bytes(view[4 : 4 + length])
        del data[: 4 + length]
        return word >= LAST, payload


def header(length: int, limit: int, last: bool = False) -> bytes:
    """The length as it precedes a frame. Raises ValueError if the peer would refuse it."""
    if length > limit:
        raise ValueError(f"a frame of {length} bytes is larger than the {limit} allowed")
    return (length | (LAST if last else 0)).to_bytes(4, "little")


def pieces(frame: Buffer, limit: int) -> list[memoryview]:
    """What is to be written, in order, so that the peer takes in this frame."""
    flat = memoryview(frame).cast("B")
    first = header(len(flat), limit)
    if len(flat) <= TOGETHER:
        return [memoryview(b"".join((first, flat)))]
    return [memoryview(first), flat]


class Channel:
    """The worker's end of a session: blocking, in order."""

    __slots__ = ("_assembly", "_input", "_limit", "_output", "torn")

    def __init__(self, input: int, output: int, limit: int = MAX_FRAME) -> None:
        self._input = input
        self._output = output
        self._limit = limit
        self._assembly = Assembly(limit)
        self.torn = False

    def limit(self, largest: int) -> None:
        """Frames may have so many bytes from now on."""
        self._limit = largest
        self._assembly.limit = largest

    def send(self, frame: Buffer) -> None:
        """The frame is on its way to the host. Raises ValueError if it is larger than the limit."""
        parts = pieces(frame, self._limit)
        self.torn = True
        for part in parts:
            view = part
            while view:
                view = view[os.write(self._output, view) :]
        self.torn = False

    def receive(self) -> bytes:
        """The host's next frame. Raises EOFError when the host will send no more."""
        while True:
            found = self._assembly.take()
            if found is not None:
                return found[1]
            piece = os.read(self._input, READ)
            if not piece:
                raise EOFError("the host closed the channel")
            self._assembly.add(piece)

    def last_words(self, kind: bytes, text: str = "") -> None:
        """The host will know why the worker ends, unless a frame was left unfinished."""
        if not self.torn:
            words = kind + text.encode("utf-8", "replace")[:4096]
            os.write(self._output, header(len(words), self._limit, last=True) + words)
