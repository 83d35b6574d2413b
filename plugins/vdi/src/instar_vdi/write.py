"""Writing VDI images, dynamic and static: the layout and the header that qemu-img gives them. All units are bytes."""

from __future__ import annotations

from array import array

from instar_core import limits as core_limits
from instar_core.errors import ContractViolation, ErrorKind, FormatError
from instar_core.types import Barrier, Copy, Create, Geometry, Put, Truncate
from instar_vdi import limits
from instar_vdi.layout import (
    BLOCK,
    FREE,
    HEADER,
    HEADER_SIZE,
    NULL_UUID,
    SECTOR,
    SIGNATURE,
    TEXT,
    VERSION,
    Header,
    Type,
    little,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator

    from instar_core.types import Edit, Run

ENTRIES = core_limits.PUT // 4
"""Entries of the block map that are put together."""


def edits(request: Create, runs: Iterable[Run]) -> Iterator[Geometry | Edit]:
    """A new image. Until the last edit it has no header, and so is none.

    Raises FormatError (USAGE), in qemu's words, for a disk that is too large.
    """
    size = -(-request.size // SECTOR) * SECTOR
    if size > limits.SIZE:
        raise FormatError(
            f"Unsupported VDI image size (size is {size:#x}, max supported is {limits.SIZE:#x})", kind=ErrorKind.USAGE
        )
    static = bool(request.options.get("static"))
    blocks = -(-size // BLOCK)
    data = SECTOR + -(-4 * blocks // SECTOR) * SECTOR
    yield Geometry(BLOCK, size, overhead=data)
    yield Truncate(0)
    yield Truncate(data + blocks * BLOCK if static else data)
    if static:
        yield from _fixed(blocks, data, runs)
        allocated = blocks
    else:
        allocated = yield from _growing(blocks, data, runs)
        yield Truncate(data + allocated * BLOCK)
    yield Barrier()
    yield Put(0, _header(request, size, blocks, data, allocated, static))


def _fixed(blocks: int, data: int, runs: Iterable[Run]) -> Iterator[Edit]:
    """Every block has its own place; the holes of the file are the zeros of the disk."""
    for first in range(0, blocks, ENTRIES):
        yield Put(SECTOR + 4 * first, little(array("I", range(first, min(blocks, first + ENTRIES)))))
    for run in runs:
        yield Copy(run.start, data + run.start, run.length)


def _growing(blocks: int, data: int, runs: Iterable[Run]) -> Generator[Edit, None, int]:
    """Blocks are stored in the order in which they come. Returns how many there are."""
    at = stored = 0
    entries = array("I")
    for run in runs:
        block, count = run.start // BLOCK, -(-run.length // BLOCK)
        if block < at + len(entries) or block + count > blocks:
            raise ContractViolation(f"a run at {run.start} is out of order or past the end of the disk")
        yield Copy(run.start, data + stored * BLOCK, run.length)
        while count:
            if block >= at + ENTRIES:
                yield from _put(at, entries, min(ENTRIES, blocks - at))
                at += ENTRIES
                entries = array("I")
                continue
            entries.extend([FREE] * (block - at - len(entries)))
            some = min(count, at + ENTRIES - block)
            entries.extend(range(stored, stored + some))
            block, count, stored = block + some, count - some, stored + some
    while at < blocks:
        yield from _put(at, entries, min(ENTRIES, blocks - at))
        at += ENTRIES
        entries = array("I")
    return stored


def _put(at: int, entries: array[int], count: int) -> Iterator[Put]:
    """The piece of the block map from entry `at` on; what has no entry is free."""
    yield Put(SECTOR + 4 * at, little(entries) + b"\xff" * 4 * (count - len(entries)))


def _header(request: Create, size: int, blocks: int, data: int, allocated: int, static: bool) -> bytes:
    return HEADER.pack(
        *Header(
            text=TEXT,
            signature=SIGNATURE,
            version=VERSION,
            header_size=HEADER_SIZE,
            image_type=Type.STATIC if static else Type.DYNAMIC,
            image_flags=0,
            description=b"",
            offset_bmap=SECTOR,
            offset_data=data,
            cylinders=0,
            heads=0,
            sectors=0,
            sector_size=SECTOR,
            unused=0,
            disk_size=size,
            block_size=BLOCK,
            block_extra=0,
            blocks=blocks,
            allocated=allocated,
            uuid_image=_uuid(request.entropy[:16]),
            uuid_snapshot=_uuid(request.entropy[16:32]),
            uuid_link=NULL_UUID,
            uuid_parent=NULL_UUID,
        )
    )


def _uuid(entropy: bytes) -> bytes:
    """A random UUID (RFC 9562, version 4) with its first three fields little-endian, as VirtualBox keeps them."""
    raw = bytearray(entropy)
    raw[7] = raw[7] & 0x0F | 0x40
    raw[8] = raw[8] & 0x3F | 0x80
    return bytes(raw)
