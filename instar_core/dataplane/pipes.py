"""Content that comes from a pipe, or goes into one: read and written once, from front to back."""

from __future__ import annotations

import os

from instar_core.dataplane import ioctls
from instar_core.dataplane.positional import failed
from instar_core.dataplane.sparse import ZEROS
from instar_core.errors import Cancelled, DeviceError, InstarError
from instar_core.piece import Piece

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from instar_core.dataplane.plans import Block

CHUNK = 4 << 20
"""Bytes that are read at once, and that one piece has."""

BEHIND = 64 << 20
"""Bytes that stay readable behind the last piece: more than the data plane reads ahead."""


class Spool:
    """A file in memory through which a stream passes, so that its content has places. A context manager."""

    def __init__(self, read: Callable[[int], bytes]) -> None:
        """`read` gives the next bytes of the stream, at most so many, and none at its end."""
        self._next = read
        self._file = os.memfd_create("instar spool", os.MFD_CLOEXEC)

    def __enter__(self) -> Spool:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._file)

    def pieces(self, length: int, skip: int = 0) -> Iterator[Piece]:
        """The next `length` bytes after `skip` as pieces from 0 on. What lies BEHIND a piece is forgotten when the next
        is asked for. Raises InstarError where the stream ends before."""
        self._pass(skip)
        at = 0
        while at < length:
            got = self._fill(at, min(CHUNK, length - at))
            yield Piece(at, got, False, self._file, at)
            at += got
            if at > BEHIND:
                ioctls.punch(self._file, max(0, at - BEHIND - CHUNK), CHUNK)

    def _fill(self, at: int, length: int) -> int:
        """The file holds the next `length` bytes there."""
        done = 0
        while done < length:
            data = self._read(length - done)
            done += os.pwrite(self._file, data, at + done)
        return done

    def _pass(self, length: int) -> None:
        while length > 0:
            length -= len(self._read(min(CHUNK, length)))

    def _read(self, length: int) -> bytes:
        try:
            data = self._next(length)
        except OSError as error:
            raise DeviceError(f"error while reading the input: {os.strerror(error.errno or 0)}") from error
        if not data:
            raise InstarError("Input ended unexpectedly")
        return data


def pour(blocks: Iterator[Block], descriptor: int, cancelled: Callable[[], bool] | None) -> None:
    """The blocks are written one behind the other. Raises DeviceError, Cancelled; BrokenPipeError without a reader."""
    for block in blocks:
        if block.zero:
            for at in range(0, block.length, len(ZEROS)):
                _write(descriptor, memoryview(ZEROS)[: min(len(ZEROS), block.length - at)], block.start + at)
        else:
            first = block.at - block.memory.base
            _write(descriptor, block.memory.view[first : first + block.length], block.start)
        if cancelled is not None and cancelled():
            raise Cancelled("stopped")


def _write(descriptor: int, view: memoryview, place: int) -> None:
    while view:
        try:
            view = view[os.write(descriptor, view) :]
        except BrokenPipeError:
            raise
        except OSError as error:
            raise failed("writing", place, error) from error
