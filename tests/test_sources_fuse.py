"""The one file that a source is: what the kernel is answered, whatever the source does."""

from __future__ import annotations

import errno
import os
import socket
import struct
import threading
from collections.abc import Callable, Iterator

import pytest

from instar_core.errors import DeviceError
from instar_core.sources import fuse
from instar_core.sources.backend import Backend
from instar_core.sources.blocks import Blocks
from instar_core.sources.holes import Holes
from instar_core.sources.served import File

SIZE = 3 * fuse.LARGEST + 100
LOOKUP_NAME = b"disk\0"


class Memory(Backend):
    """A source in memory, which can be made to fail or to wait."""

    writable = True
    size = SIZE

    def __init__(self) -> None:
        self.content = bytearray(range(256)) * (SIZE // 256 + 1)
        del self.content[SIZE:]
        self.asked: list[tuple[object, ...]] = []
        self.fault: Exception | None = None
        self.gate: threading.Event | None = None
        self.begun = threading.Event()
        self.closed = False

    def _note(self, *what: object) -> None:
        self.asked.append(what)
        self.begun.set()
        if self.gate is not None:
            self.gate.wait(20)
        if self.fault is not None:
            raise self.fault

    def read(self, offset: int, length: int) -> bytes:
        self._note("read", offset, length)
        return bytes(self.content[offset : offset + length])

    def write(self, offset: int, data: bytes | memoryview) -> None:
        self._note("write", offset, len(data))
        self.content[offset : offset + len(data)] = data

    def flush(self) -> None:
        self._note("flush")

    def extents(self, offset: int, length: int) -> list[tuple[int, bool]]:
        self._note("extents", offset, length)
        edge = 4096 - offset % 4096
        return [(edge, offset // 4096 % 2 == 0), (4096, offset // 4096 % 2 == 1)]

    def close(self) -> None:
        self.closed = True


class Kernel:
    """The other end of a file: requests out, answers in."""

    def __init__(self, backend: Memory) -> None:
        self.backend = backend
        self.ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        for end in (self.ours, theirs):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 * fuse.LARGEST)
        self.ours.settimeout(20)
        self.theirs = theirs
        self.trouble: list[str] = []
        self.file = File(theirs.fileno(), backend, SIZE, self.trouble.append)
        self.worker = threading.Thread(target=self.file.work)
        self.worker.start()
        self.unique = 0

    def close(self) -> None:
        self.file.stop()
        self.worker.join()
        self.ours.close()
        self.theirs.close()

    def send(self, code: int, body: bytes = b"", node: int = fuse.FILE) -> int:
        self.unique += 2
        self.file.take(fuse.IN.pack(fuse.IN.size + len(body), code, self.unique, node, 0, 0, 0, 0, 0) + body)
        return self.unique

    def answer(self) -> tuple[int, int, bytes]:
        message = self.ours.recv(fuse.BUFFER)
        length, error, unique = fuse.OUT.unpack_from(message)
        assert length == len(message)
        return unique, -error, message[fuse.OUT.size :]

    def ask(self, code: int, body: bytes = b"", node: int = fuse.FILE) -> tuple[int, bytes]:
        unique = self.send(code, body, node)
        answered, error, found = self.answer()
        assert answered == unique
        return error, found

    def read(self, offset: int, length: int) -> tuple[int, bytes]:
        return self.ask(fuse.READ, fuse.READ_IN.pack(0, offset, length, 0, 0, 0, 0))

    def write(self, offset: int, data: bytes) -> tuple[int, bytes]:
        return self.ask(fuse.WRITE, fuse.READ_IN.pack(0, offset, len(data), 0, 0, 0, 0) + data)

    def seek(self, offset: int, whence: int) -> tuple[int, bytes]:
        return self.ask(fuse.LSEEK, fuse.LSEEK_IN.pack(0, offset, whence, 0))

    def fallocate(self, offset: int, length: int, mode: int) -> tuple[int, bytes]:
        return self.ask(fuse.FALLOCATE, fuse.FALLOCATE_IN.pack(0, offset, length, mode, 0))


@pytest.fixture
def kernel() -> Iterator[Kernel]:
    made = Kernel(Memory())
    yield made
    made.close()
    assert made.backend.closed


def size_of(attributes: bytes) -> tuple[int, int]:
    """Node and size."""
    return struct.unpack_from("=QQ", attributes)


def test_both_sides_agree_on_a_version(kernel: Kernel) -> None:
    for theirs, agreed in ((24, 24), (31, 31), (45, 31)):
        error, body = kernel.ask(fuse.INIT, fuse.INIT_IN.pack(7, theirs, 1 << 17, 0xFFFFFFFF))
        assert error == 0 and len(body) == 64
        major, minor, readahead, flags, _, _, largest, _, pages, *_ = fuse.INIT_OUT.unpack(body)
        assert (major, minor, readahead, largest, pages) == (7, agreed, 1 << 17, 1 << 20, 256)
        assert flags == fuse.BIG_WRITES | fuse.MAX_PAGES
    for major, minor in ((7, 23), (6, 40)):
        with pytest.raises(fuse.Garbled, match="is needed"):
            kernel.send(fuse.INIT, fuse.INIT_IN.pack(major, minor, 0, 0))


def test_there_is_one_file_of_a_fixed_size(kernel: Kernel) -> None:
    error, body = kernel.ask(fuse.LOOKUP, LOOKUP_NAME, fuse.ROOT)
    assert error == 0 and len(body) == 128 and body[:8] == struct.pack("=Q", fuse.FILE)
    assert size_of(body[fuse.ENTRY.size :]) == (fuse.FILE, SIZE)
    assert kernel.ask(fuse.LOOKUP, b"other\0", fuse.ROOT)[0] == errno.ENOENT
    error, body = kernel.ask(fuse.GETATTR)
    assert error == 0 and len(body) == 104 and size_of(body[16:]) == (fuse.FILE, SIZE)
    assert size_of(kernel.ask(fuse.GETATTR, node=fuse.ROOT)[1][16:]) == (fuse.ROOT, 0)

    def resized(size: int) -> tuple[int, bytes]:
        return kernel.ask(fuse.SETATTR, fuse.SETATTR_IN.pack(fuse.SIZE_IS_SET, 0, 0, size) + bytes(64))

    for size in (0, SIZE):
        error, body = resized(size)
        assert error == 0 and size_of(body[16:]) == (fuse.FILE, SIZE)
    assert resized(SIZE + 1)[0] == errno.EOPNOTSUPP


def test_what_nobody_needs_is_not_there(kernel: Kernel) -> None:
    for code in (17, 22, 25, 27, 34, 35, 39, 47, 52, 4711):
        assert kernel.ask(code)[0] == errno.ENOSYS
    kernel.send(fuse.FORGET)
    kernel.send(fuse.BATCH_FORGET)
    assert kernel.ask(fuse.RELEASE) == (0, b"")  # and nothing was said about those


def test_a_source_that_is_only_read_is_not_opened_for_writing(kernel: Kernel) -> None:
    error, body = kernel.ask(fuse.OPEN, fuse.OPEN_IN.pack(os.O_RDWR, 0))
    assert error == 0 and struct.unpack_from("=QI", body) == (0, fuse.DIRECT_IO | fuse.NOFLUSH)
    kernel.backend.writable = False
    assert kernel.ask(fuse.OPEN, fuse.OPEN_IN.pack(os.O_RDONLY, 0))[0] == 0
    assert kernel.ask(fuse.OPEN, fuse.OPEN_IN.pack(os.O_RDWR, 0))[0] == errno.EROFS
    assert kernel.write(0, b"x")[0] == errno.EROFS
    assert kernel.fallocate(0, 512, fuse.PUNCH_HOLE | fuse.KEEP_SIZE)[0] == errno.EROFS


def test_reads_end_where_the_source_does(kernel: Kernel) -> None:
    content = bytes(kernel.backend.content)
    for offset, length in ((0, 10), (SIZE - 5, 10), (SIZE, 10), (SIZE + 10, 10), (4096, fuse.LARGEST)):
        assert kernel.read(offset, length) == (0, content[offset : offset + length])
    assert ("read", SIZE - 5, 5) in kernel.backend.asked


def test_what_is_written_stands_there(kernel: Kernel) -> None:
    assert kernel.write(1000, b"written") == (0, fuse.WRITE_OUT.pack(7, 0))
    assert kernel.read(999, 9)[1] == bytes([999 % 256]) + b"written" + bytes([1007 % 256])
    assert kernel.write(SIZE - 3, b"four")[0] == errno.ENOSPC
    assert kernel.trouble == [f"the source ends at byte {SIZE}"]
    assert kernel.ask(fuse.FSYNC, bytes(16)) == (0, b"")
    assert kernel.backend.asked[-1] == ("flush",)


@pytest.mark.parametrize("mode", [fuse.PUNCH_HOLE | fuse.KEEP_SIZE, fuse.ZERO_RANGE])
def test_zeros_are_written_where_a_source_knows_no_better_way(kernel: Kernel, mode: int) -> None:
    assert kernel.fallocate(10, fuse.LARGEST + 5, mode) == (0, b"")
    assert kernel.backend.content[10 : 15 + fuse.LARGEST] == bytes(fuse.LARGEST + 5)
    assert kernel.backend.content[15 + fuse.LARGEST] and kernel.backend.content[9]
    assert kernel.fallocate(SIZE - 10, 20, mode)[0] == errno.ENOSPC
    assert kernel.fallocate(0, SIZE, 0) == (0, b"")


def test_holes_are_found_from_one_to_the_next(kernel: Kernel) -> None:
    data, hole = os.SEEK_DATA, os.SEEK_HOLE
    for offset, whence, found in (
        (0, data, 0), (0, hole, 4096), (4096, hole, 4096), (4096, data, 8192), (5000, data, 8192), (8200, hole, 12288),
    ):  # fmt: skip
        assert kernel.seek(offset, whence) == (0, fuse.LSEEK_OUT.pack(found)), (offset, whence)
    assert kernel.seek(SIZE, data)[0] == kernel.seek(SIZE + 1, hole)[0] == errno.ENXIO
    assert kernel.trouble == []


def test_the_end_of_the_source_is_a_hole() -> None:
    class Whole(Backend):
        pass

    holes = Holes(Whole(), 1000)
    assert (holes.seek(10, False), holes.seek(10, True)) == (10, 1000)

    class Empty(Backend):
        def extents(self, offset: int, length: int) -> list[tuple[int, bool]]:
            return [(length + 1 << 40, False)]

    assert Holes(Empty(), 1000).seek(10, True) == 10
    with pytest.raises(OSError, match="No such device"):
        Holes(Empty(), 1000).seek(10, False)


@pytest.mark.parametrize("said", [[], [(0, True)], [(-5, True)]], ids=str)
def test_a_source_that_says_nothing_of_its_holes_is_an_error(said: list[tuple[int, bool]]) -> None:
    class Silent(Backend):
        def extents(self, offset: int, length: int) -> list[tuple[int, bool]]:
            return said

    with pytest.raises(OSError, match="does not say"):
        Holes(Silent(), 1000).seek(10, True)


@pytest.mark.parametrize(
    "fault,code,told",
    [
        (DeviceError("the server is gone", errno=errno.ECONNRESET), errno.EIO, "the server is gone"),
        (DeviceError("full", errno=errno.ENOSPC), errno.ENOSPC, "full"),
        (OSError(errno.EACCES, "no"), errno.EIO, "no"),
        (OSError("only words"), errno.EIO, "only words"),
        (ZeroDivisionError("division"), errno.EIO, "ZeroDivisionError: division"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_whatever_a_plugin_raises_is_answered(kernel: Kernel, fault: Exception, code: int, told: str) -> None:
    kernel.backend.fault = fault
    assert kernel.read(0, 10) == (code, b"")
    assert kernel.write(0, b"x") == (code, b"")
    assert kernel.trouble == [told, told]
    kernel.backend.fault = None
    assert kernel.read(0, 2) == (0, b"\0\1")


def test_a_plugin_that_gives_too_little_is_an_error(kernel: Kernel) -> None:
    del kernel.backend.content[100:]
    assert kernel.read(90, 20) == (errno.EIO, b"")
    assert kernel.trouble == ["the source gave 10 bytes of 20 at 90"]


def test_who_does_not_want_to_wait_any_more_is_answered_at_once(kernel: Kernel) -> None:
    kernel.backend.gate = threading.Event()
    first = kernel.send(fuse.READ, fuse.READ_IN.pack(0, 0, 10, 0, 0, 0, 0))
    second = kernel.send(fuse.READ, fuse.READ_IN.pack(0, 20, 10, 0, 0, 0, 0))
    assert kernel.backend.begun.wait(20)
    for unique in (second, first):
        kernel.send(fuse.INTERRUPT, fuse.INTERRUPT_IN.pack(unique))
        assert kernel.answer() == (unique, errno.EINTR, b"")
    kernel.send(fuse.INTERRUPT, fuse.INTERRUPT_IN.pack(4711))
    kernel.backend.gate.set()
    assert kernel.read(30, 1) == (0, b"\x1e")
    assert [asked[1] for asked in kernel.backend.asked] == [0, 30], "what is not wanted is not asked for"


@pytest.mark.parametrize("message", [b"", b"short", fuse.IN.pack(41, fuse.READ, 2, 2, 0, 0, 0, 0, 0)], ids=len)
def test_a_message_that_is_no_request_is_refused(message: bytes) -> None:
    with pytest.raises(fuse.Garbled):
        fuse.parsed(message)


def counted(size: int, block: int) -> tuple[Blocks, list[tuple[int, int]], Callable[[int, int], bytes]]:
    content = bytes(number % 251 for number in range(size))
    asked: list[tuple[int, int]] = []

    class Counted(Backend):
        def read(self, offset: int, length: int) -> bytes:
            asked.append((offset, length))
            return content[offset : offset + length]

    backend = Counted()
    backend.block = block
    return Blocks(backend, size), asked, lambda offset, length: content[offset : offset + length]


def test_blocks_are_fetched_once_and_several_ahead_of_who_reads_on() -> None:
    blocks, asked, content = counted(1050, 100)
    for offset, length in ((5, 10), (90, 20), (1040, 10), (0, 1050)):
        assert blocks.read(offset, length) == content(offset, length)
    assert asked == [(0, 100), (100, 400), (1000, 50), (500, 100), (600, 400)]


def test_only_the_last_blocks_are_kept() -> None:
    blocks, asked, content = counted(100 * 1000, 10)
    for at in range(0, 100_000, 500):
        assert blocks.read(at, 1) == content(at, 1)
    assert blocks.read(0, 1) == content(0, 1)
    assert asked[-1] == (0, 10)
