"""The kernel's protocol of file systems in user space, as far as one file needs it. Source: linux/fuse.h, 7.31.

Integers are the machine's own. A message is read in one piece from /dev/fuse; an answer is written in one piece.
"""

from __future__ import annotations

from struct import Struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final, NamedTuple
else:
    from instar_core.record import NamedTuple

MAJOR: Final = 7
MINOR: Final = 31
OLDEST: Final = 24
"""The minor that brought LSEEK."""

LOOKUP, FORGET, GETATTR, SETATTR, OPEN, READ, WRITE = 1, 2, 3, 4, 14, 15, 16
RELEASE, FSYNC, FLUSH, INIT, INTERRUPT, DESTROY = 18, 20, 25, 26, 36, 38
BATCH_FORGET, FALLOCATE, LSEEK = 42, 43, 46

UNANSWERED: Final = frozenset({FORGET, BATCH_FORGET, DESTROY})

ROOT: Final = 1
FILE: Final = 2
"""Node ids: the root folder and the file in it."""
NAME: Final = b"disk"

IN: Final = Struct("=IIQQIIIHH")
"""len, opcode, unique, nodeid, uid, gid, pid, total_extlen, padding"""
OUT: Final = Struct("=IiQ")
"""len, error, unique"""
INIT_IN: Final = Struct("=IIII")
"""major, minor, max_readahead, flags"""
INIT_OUT: Final = Struct("=IIIIHHIIHHI28x")
"""major, minor, max_readahead, flags, max_background, congestion_threshold, max_write, time_gran, max_pages,
map_alignment, flags2, unused"""
ATTR: Final = Struct("=QQQQQQIIIIIIIIII")
"""ino, size, blocks, atime, mtime, ctime, their nanoseconds, mode, nlink, uid, gid, rdev, blksize, flags"""
ENTRY: Final = Struct("=QQQQII")
"""nodeid, generation, entry_valid, attr_valid, their nanoseconds"""
ATTR_OUT: Final = Struct("=QII")
"""attr_valid, attr_valid_nsec, padding"""
OPEN_IN: Final = Struct("=II")
"""flags, open_flags"""
OPEN_OUT: Final = Struct("=QII")
"""fh, open_flags, padding"""
READ_IN: Final = Struct("=QQIIQII")
"""fh, offset, size, read_flags, lock_owner, flags, padding; the same for write, with the data behind it"""
WRITE_OUT: Final = Struct("=II")
"""size, padding"""
SETATTR_IN: Final = Struct("=IIQQ")
"""valid, padding, fh, size; further fields follow"""
FALLOCATE_IN: Final = Struct("=QQQII")
"""fh, offset, length, mode, padding"""
LSEEK_IN: Final = Struct("=QQII")
"""fh, offset, whence, padding"""
LSEEK_OUT: Final = Struct("=Q")
INTERRUPT_IN: Final = Struct("=Q")
"""unique of the request that is not wanted any more"""

BIG_WRITES: Final = 1 << 5
MAX_PAGES: Final = 1 << 22
DIRECT_IO, NOFLUSH = 1 << 0, 1 << 5
SIZE_IS_SET: Final = 1 << 3
"""In setattr's valid."""
KEEP_SIZE, PUNCH_HOLE, ZERO_RANGE = 0x01, 0x02, 0x10
FOREVER: Final = 1 << 31
"""Seconds for which the kernel may keep what it was told."""

LARGEST: Final = 1 << 20
"""Bytes of one read or write."""
PAGES: Final = LARGEST >> 12
BUFFER: Final = LARGEST + (64 << 10)
"""A message with its headers."""

REGULAR, FOLDER = 0o100600, 0o040700


class Request(NamedTuple):
    """What the kernel asks for: code, number, node, and the rest of the message."""

    code: int
    unique: int
    node: int
    body: bytes


class Garbled(Exception):
    """A message that is no request."""


def parsed(message: bytes) -> Request:
    """The request. Raises Garbled."""
    if len(message) < IN.size:
        raise Garbled(f"{len(message)} bytes")
    length, code, unique, node, *_ = IN.unpack_from(message)
    if length != len(message):
        raise Garbled(f"{length} bytes announced, {len(message)} come")
    return Request(code, unique, node, message[IN.size :])


def answer(unique: int, body: bytes = b"") -> bytes:
    """An answer to the request of this number."""
    return OUT.pack(OUT.size + len(body), 0, unique) + body


def head(unique: int, length: int) -> bytes:
    """What stands before `length` bytes of an answer."""
    return OUT.pack(OUT.size + length, 0, unique)


def failure(unique: int, code: int) -> bytes:
    """The answer that the request failed with this errno."""
    return OUT.pack(OUT.size, -code, unique)


def attributes(node: int, size: int, uid: int, gid: int) -> bytes:
    """struct fuse_attr of the file, or of the folder it is in."""
    mode, length = (REGULAR, size) if node == FILE else (FOLDER, 0)
    blocks = -(-length // 512)
    return ATTR.pack(node, length, blocks, 0, 0, 0, 0, 0, 0, mode, 1, uid, gid, 0, 4096, 0)


def initial(unique: int, body: bytes) -> bytes:
    """The answer to INIT, by which both sides know each other. Raises Garbled for a kernel that is too old."""
    major, minor, readahead, flags = INIT_IN.unpack_from(body)
    if major < MAJOR or (major == MAJOR and minor < OLDEST):
        raise Garbled(f"the kernel speaks version {major}.{minor} of FUSE; {MAJOR}.{OLDEST} is needed")
    made = INIT_OUT.pack(
        MAJOR, min(minor, MINOR) if major == MAJOR else MINOR, readahead, flags & (BIG_WRITES | MAX_PAGES),
        16, 12, LARGEST, 1, PAGES, 0, 0,
    )  # fmt: skip
    return answer(unique, made)
