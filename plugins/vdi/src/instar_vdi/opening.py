"""The header of a VDI image, read and judged: in qemu's words, and in its order, where it refuses too."""

from __future__ import annotations

from instar_core.errors import ErrorKind, FormatError
from instar_vdi import limits
from instar_vdi.layout import BLOCK, HEADER, NULL_UUID, SECTOR, SIGNATURE, SIGNATURE_AT, TYPES, VERSION, Header, Type

TYPE_CHECKING = False
if TYPE_CHECKING:
    from instar_core.source import Source

REFUSED = "unsupported VDI image "


def open_image(source: Source) -> Header:
    """The header; every number in it that reading depends on is within its bound. Raises FormatError."""
    header = Header._make(source.unpack(HEADER, 0, pad=True))
    if header.disk_size > limits.SIZE:
        raise _too_large(header.disk_size)
    if header.signature != SIGNATURE:
        raise FormatError(f"Image not in VDI format (bad signature {header.signature:08x})", offset=SIGNATURE_AT)
    if header.version != VERSION:
        raise _unsupported(f"version {header.version >> 16}.{header.version & 0xFFFF}", 0x44)
    if header.offset_bmap % SECTOR:
        raise _unsupported(f"unaligned block map offset {header.offset_bmap:#x}", 0x154)
    if header.offset_data % SECTOR:
        raise _unsupported(f"unaligned data offset {header.offset_data:#x}", 0x158)
    if header.sector_size != SECTOR:
        raise _unsupported(f"sector size {header.sector_size} is not {SECTOR}", 0x168)
    size = header.block_size
    if not limits.BLOCK_LEAST <= size <= limits.BLOCK_MOST or size & (size - 1):
        raise _unsupported(f"block size {size} is not {BLOCK}", 0x178)
    extra = header.block_extra
    if extra > limits.BLOCK_MOST or extra % SECTOR or extra & (extra - 1):
        raise _unsupported(f"{extra} bytes of extra data in front of each block", 0x17C)
    if header.size > header.blocks * size:
        raise _unsupported(f"disk size {header.size}, image bitmap has room for {header.blocks * size}", 0x180)
    if header.uuid_link != NULL_UUID:
        raise _unsupported("non-NULL link UUID", 0x1A8)
    if header.uuid_parent != NULL_UUID:
        raise _unsupported("non-NULL parent UUID", 0x1B8)
    if header.image_type in (Type.UNDO, Type.DIFF):
        raise _unsupported(
            f"a {TYPES[header.image_type]} image, which says nothing by which its parent could be found", 0x4C
        )
    if header.blocks > limits.BLOCKS:
        raise _unsupported(f"too many blocks {header.blocks}, max is {limits.BLOCKS}", 0x180, ErrorKind.LIMIT)
    return header


def _unsupported(why: str, offset: int, kind: str = ErrorKind.UNSUPPORTED) -> FormatError:
    return FormatError(f"{REFUSED}({why})", kind=kind, offset=offset)


def _too_large(size: int) -> FormatError:
    return FormatError(
        f"Unsupported VDI image size (size is {size:#x}, max supported is {limits.SIZE:#x})",
        kind=ErrorKind.LIMIT,
        offset=0x170,
    )


def cut(source: Source, header: Header) -> bool:
    """Whether the file ends before its block map does."""
    return header.map_end > source.size
