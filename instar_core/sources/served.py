"""Requests of the kernel for the one file answered: by a reader at once, or by a worker that asks the source."""

from __future__ import annotations

import errno
import os
import queue
import threading

from instar_core.errors import DeviceError, InstarError
from instar_core.sources import fuse
from instar_core.sources.blocks import Blocks
from instar_core.sources.fuse import Garbled
from instar_core.sources.holes import Holes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from instar_core.sources.backend import Backend
    from instar_core.sources.fuse import Request

SEEK_HOLE = 4
DEFERRED = frozenset({fuse.READ, fuse.WRITE, fuse.FSYNC, fuse.FALLOCATE, fuse.LSEEK})
"""Requests that the source has to be asked for."""


class File:
    """The file. `reader` calls take() for each message from the kernel; another thread runs work().

    A request that the kernel does not wait for any more is answered at once, whatever the source is doing: so a caller
    that was interrupted goes on, even where the network hangs.
    """

    def __init__(self, kernel: int, backend: Backend, size: int, trouble: Callable[[str], None]) -> None:
        self._kernel = kernel
        self._backend = backend
        self._size = size
        self._trouble = trouble
        self._ids = os.geteuid(), os.getegid()
        self._waiting: set[int] = set()
        self._lock = threading.Lock()
        self._queue: queue.SimpleQueue[Request | None] = queue.SimpleQueue()
        self._holes = Holes(backend, size)
        cached = backend.block and not backend.writable
        self._read = Blocks(backend, size).read if cached else backend.read

    def take(self, message: bytes) -> None:
        """The request is answered, or waits for the worker. Raises Garbled and OSError where that cannot go on."""
        request = fuse.parsed(message)
        if request.code in DEFERRED:
            with self._lock:
                self._waiting.add(request.unique)
            self._queue.put(request)
        elif request.code == fuse.INTERRUPT:
            (unique,) = fuse.INTERRUPT_IN.unpack_from(request.body)
            self._finish(unique, fuse.failure(unique, errno.EINTR))
        elif request.code not in fuse.UNANSWERED:
            self._send(self._simple(request))

    def work(self) -> None:
        """Requests are answered until stop(); the source is closed then."""
        while True:
            request = self._queue.get()
            if request is None:
                self._backend.close()
                return
            with self._lock:
                wanted = request.unique in self._waiting
            if wanted:
                self._finish(request.unique, *self._asked(request))

    def stop(self) -> None:
        """The worker ends when all that it was asked for before is done."""
        self._queue.put(None)

    def _simple(self, request: Request) -> bytes:
        unique, body = request.unique, request.body
        if request.code == fuse.INIT:
            return fuse.initial(unique, body)
        if request.code == fuse.LOOKUP:
            if body.rstrip(b"\0") != fuse.NAME:
                return fuse.failure(unique, errno.ENOENT)
            entry = fuse.ENTRY.pack(fuse.FILE, 0, fuse.FOREVER, fuse.FOREVER, 0, 0)
            return fuse.answer(unique, entry + self._attributes(fuse.FILE))
        if request.code == fuse.SETATTR:
            valid, _, _, size = fuse.SETATTR_IN.unpack_from(body)
            if valid & fuse.SIZE_IS_SET and size > self._size:  # to shrink is to use less of it
                return fuse.failure(unique, errno.EOPNOTSUPP)
        if request.code in (fuse.GETATTR, fuse.SETATTR):
            return fuse.answer(unique, fuse.ATTR_OUT.pack(fuse.FOREVER, 0, 0) + self._attributes(request.node))
        if request.code == fuse.OPEN:
            flags, _ = fuse.OPEN_IN.unpack_from(body)
            if flags & os.O_ACCMODE != os.O_RDONLY and not self._backend.writable:
                return fuse.failure(unique, errno.EROFS)
            return fuse.answer(unique, fuse.OPEN_OUT.pack(0, fuse.DIRECT_IO | fuse.NOFLUSH, 0))
        if request.code == fuse.RELEASE:
            return fuse.answer(unique)
        return fuse.failure(unique, errno.ENOSYS)

    def _attributes(self, node: int) -> bytes:
        return fuse.attributes(node, self._size, *self._ids)

    def _asked(self, request: Request) -> tuple[bytes, ...]:
        """The answer to a request that the source is asked for."""
        try:
            body = self._done(request)
        except Exception as error:  # a plugin may fail in any way; the kernel waits for an answer
            code = errno.EIO
            if isinstance(error, OSError | DeviceError) and error.errno in (errno.ENOSPC, errno.ENXIO, errno.EROFS):
                code = error.errno
            if code != errno.ENXIO:
                self._trouble(told(error))
            return (fuse.failure(request.unique, code),)
        return fuse.head(request.unique, len(body)), body

    def _done(self, request: Request) -> bytes:
        if request.code == fuse.READ:
            _, offset, length, *_ = fuse.READ_IN.unpack_from(request.body)
            length = max(0, min(length, fuse.LARGEST, self._size - offset))
            data = self._read(offset, length) if length else b""
            if len(data) != length:
                raise OSError(errno.EIO, f"the source gave {len(data)} bytes of {length} at {offset}")
            return data
        if request.code == fuse.LSEEK:
            _, offset, whence, _ = fuse.LSEEK_IN.unpack_from(request.body)
            return fuse.LSEEK_OUT.pack(self._holes.seek(offset, whence == SEEK_HOLE))
        if request.code == fuse.WRITE:
            _, offset, length, *_ = fuse.READ_IN.unpack_from(request.body)
            data = request.body[fuse.READ_IN.size :]
            if len(data) != length:
                raise Garbled("a write without its bytes")
            self._inside(offset, length)
            self._holes.forget()
            self._backend.write(offset, data)
            return fuse.WRITE_OUT.pack(length, 0)
        if request.code == fuse.FALLOCATE:
            _, offset, length, mode, _ = fuse.FALLOCATE_IN.unpack_from(request.body)
            self._inside(offset, length)
            if mode & (fuse.PUNCH_HOLE | fuse.ZERO_RANGE):  # else room is asked for, which is there
                self._holes.forget()
                self._zero(offset, length, bool(mode & fuse.PUNCH_HOLE))
            return b""
        if self._backend.writable:
            self._backend.flush()
        return b""

    def _inside(self, offset: int, length: int) -> None:
        if not self._backend.writable:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        if offset + length > self._size:
            raise OSError(errno.ENOSPC, f"the source ends at byte {self._size}")

    def _zero(self, offset: int, length: int, punch: bool) -> None:
        try:
            self._backend.zero(offset, length, punch)
        except (OSError, DeviceError) as error:
            if error.errno != errno.EOPNOTSUPP:
                raise
            for at in range(offset, offset + length, fuse.LARGEST):
                self._backend.write(at, bytes(min(fuse.LARGEST, offset + length - at)))

    def _finish(self, unique: int, *answer: bytes) -> None:
        """The answer is given, unless one was before."""
        with self._lock:
            if unique not in self._waiting:
                return
            self._waiting.remove(unique)
        self._send(*answer)

    def _send(self, *answer: bytes) -> None:
        try:
            os.writev(self._kernel, answer)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENODEV):  # nobody waits for it any more
                raise


def told(error: BaseException) -> str:
    """What a plugin's failure is called."""
    if isinstance(error, InstarError):
        return error.message
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return f"{type(error).__name__}: {error}"
