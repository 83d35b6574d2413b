"""A sealed guest as a file: its registers, what its monitor knows of it, and the pages that are not zero.

A snapshot is code, and trusted like the interpreter it was made of. Checksums are against damage.
"""

from __future__ import annotations

import marshal
import os
import zlib
from struct import Struct

from instar_sandbox.kvm import layout

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from instar_sandbox.kvm.memory import GuestMemory
    from instar_sandbox.kvm.space import Space

MAGIC = b"instarkv"
VERSION = 2
HEAD = Struct("<8sIII")
"""Magic, version, checksum and length of the description, which follows; the pages begin at the next whole page."""
GRANULE = 64 << 10
RESERVE = 1 << 10
"""Bytes that a description may grow by when it is rewritten."""
MOST_DESCRIPTION = 16 << 20


class Damaged(Exception):
    """The file is not a snapshot that can be used; the message says why."""


class Description:
    """All of a snapshot but its pages. `extents` are (guest address, bytes, place in the file)."""

    __slots__ = (
        "call",
        "checksum",
        "extended",
        "extents",
        "features",
        "files",
        "free",
        "heap",
        "hot",
        "identity",
        "large",
        "registers",
        "special",
        "stays_user",
        "tested",
    )

    registers: bytes
    special: bytes
    extended: bytes
    stays_user: bool
    features: bytes
    """What the guest was told of its processor: struct kvm_cpuid2. Empty: all that there is."""
    call: tuple[int, tuple[int, ...]]
    """The system call that the guest waits in."""
    free: list[tuple[int, int]]
    heap: tuple[int, int]
    extents: list[tuple[int, int, int]]
    checksum: int
    """CRC-32 of all pages."""
    identity: tuple[Any, ...]
    """What the snapshot was made of; see identity.py."""
    files: dict[str, tuple[int, int, int]]
    """Files that were read, as they were."""
    large: bool
    """Copying all pages into large ones is much quicker here than sharing them."""
    hot: list[tuple[int, int]]
    """Ranges of large pages that are copied even where the others are shared: a guest writes to many places in them."""

    tested: bool
    """A program has run in it here and gave the right answers."""

    def __init__(self) -> None:
        self.features = b""
        self.hot = []

    @property
    def top(self) -> int:
        """Where the last page ends that is not zero, or that is the guest's: it needs memory up to here."""
        address, length, _ = self.extents[-1]
        return max(address + length, self.free[-1][0])

    @property
    def size(self) -> int:
        """Bytes of all pages."""
        return sum(length for _, length, _ in self.extents)


def extents(memory: GuestMemory, space: Space) -> list[tuple[int, int]]:
    """Ranges of the guest's memory, in whole granules, that hold more than zeros."""
    zeros = bytes(GRANULE)
    found: list[tuple[int, int]] = []
    done = 0
    for start, end in space.used():
        for at in range(max(done, start // GRANULE * GRANULE), end, GRANULE):
            piece = memory.view[at : min(at + GRANULE, memory.size)]
            if piece == zeros[: len(piece)] or bytes(piece) == zeros[: len(piece)]:
                continue
            if found and sum(found[-1]) == at:
                found[-1] = (found[-1][0], found[-1][1] + len(piece))
            else:
                found.append((at, len(piece)))
        done = -(-end // GRANULE) * GRANULE
    return found


def write(descriptor: int, description: Description, memory: GuestMemory) -> None:
    """The file holds the snapshot; `description.extents` has (address, length, 0) and is completed."""
    checksum = 0
    for address, length, _ in description.extents:
        checksum = zlib.crc32(memory.view[address : address + length], checksum)
    description.checksum = checksum
    ranges = [(address, length) for address, length, _ in description.extents]
    place = layout.PAGE
    while True:  # the description's own length decides where the pages begin
        at = place
        description.extents = []
        for address, length in ranges:
            description.extents.append((address, length, at))
            at += length
        body = dump(description)
        if HEAD.size + len(body) + RESERVE <= place:
            break
        place = -(-(HEAD.size + len(body) + RESERVE) // layout.PAGE) * layout.PAGE
    os.pwrite(descriptor, HEAD.pack(MAGIC, VERSION, zlib.crc32(body), len(body)) + body, 0)
    for address, length, offset in description.extents:
        done = 0
        while done < length:
            done += os.pwrite(descriptor, memory.view[address + done : address + length], offset + done)


def rewrite(descriptor: int, description: Description) -> None:
    """The file has the same pages under another description. Raises ValueError for one that there is no room for."""
    body = dump(description)
    if HEAD.size + len(body) > description.extents[0][2]:
        raise ValueError("the description would run into the pages")
    os.pwrite(descriptor, HEAD.pack(MAGIC, VERSION, zlib.crc32(body), len(body)) + body, 0)


def dump(description: Description) -> bytes:
    """The description as bytes."""
    return marshal.dumps({name: getattr(description, name) for name in Description.__slots__})


def read(descriptor: int) -> Description:
    """The description of an open snapshot; its pages are not looked at. Raises Damaged."""
    head = os.pread(descriptor, layout.PAGE, 0)
    if len(head) < HEAD.size:
        raise Damaged("the snapshot is cut short")
    magic, version, checksum, length = HEAD.unpack_from(head)
    if magic != MAGIC or version != VERSION:
        raise Damaged("the snapshot is of another version")
    if length > MOST_DESCRIPTION:
        raise Damaged("the snapshot is damaged")
    body = head[HEAD.size : HEAD.size + length]
    if len(body) < length:
        body += os.pread(descriptor, length - len(body), len(head))
    if len(body) != length or zlib.crc32(body) != checksum:
        raise Damaged("the snapshot is damaged")
    description = Description()
    try:
        fields = marshal.loads(body)  # noqa: S302  as trusted as the interpreter's own bytecode, and kept as that is
        for name in Description.__slots__:
            setattr(description, name, fields[name])
        _, length, place = description.extents[-1]
    except (EOFError, ValueError, TypeError, LookupError) as error:
        raise Damaged("the snapshot is damaged") from error
    if os.fstat(descriptor).st_size < place + length:
        raise Damaged("the snapshot is cut short")
    return description


def verify(descriptor: int, description: Description) -> None:
    """The pages are as they were written. Raises Damaged."""
    checksum = 0
    for _, length, place in description.extents:
        for at in range(place, place + length, 1 << 20):
            checksum = zlib.crc32(os.pread(descriptor, min(1 << 20, place + length - at), at), checksum)
    if checksum != description.checksum:
        raise Damaged("the snapshot is damaged")
