"""Space-efficient sparse extents (seSparse, VMFS 6).

VMware has published no layout; this is what other readers understand. Every entry is 8 bytes: of a directory entry the
top half is 0x10000000 where a table exists, the rest its number; a table entry has its kind in the top four bits.
"""

from __future__ import annotations

from instar_core.errors import ErrorKind, FormatError
from instar_vmdk.layout import (
    SECTOR,
    SESPARSE,
    SESPARSE_GRAIN,
    SESPARSE_MAGIC,
    SESPARSE_TABLE,
    SESPARSE_VERSION,
    VOLATILE,
    VOLATILE_MAGIC,
    SeSparseHeader,
    Sparse,
)
from instar_vmdk.sparse import bounded_capacity, bounded_directory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from instar_core.source import Source

WIDTH = 8


def open_sesparse(source: Source) -> Sparse:
    """How to read the seSparse extent `source`. Raises FormatError, in qemu's words, for what cannot be."""
    header = SeSparseHeader._make(source.unpack(SESPARSE, 0, pad=True))
    wrong = (
        (header.magic != SESPARSE_MAGIC, f"Bad const header magic: {header.magic:#x}"),
        (header.version != SESPARSE_VERSION, f"Unsupported version: {header.version:#x}"),
        (header.grain_size != SESPARSE_GRAIN, f"Unsupported grain size: {header.grain_size}"),
        (header.grain_table_size != SESPARSE_TABLE, f"Unsupported grain table size: {header.grain_table_size}"),
        (header.flags != 0, f"Unsupported flags: {header.flags:#x}"),
        (
            header.reserved1 or header.reserved2 or header.reserved3 or header.reserved4,
            f"Unsupported reserved bits: {header.reserved1:#x} {header.reserved2:#x} "
            f"{header.reserved3:#x} {header.reserved4:#x}",
        ),
        (header.pad.strip(b"\0"), "Unsupported non-zero const header padding"),
    )
    for bad, message in wrong:
        if bad:
            raise FormatError(message, kind=ErrorKind.UNSUPPORTED, offset=0)
    at = bounded_capacity(header.volatile_header_offset, offset=80)
    magic, _, _, replay, pad = source.unpack(VOLATILE, at, pad=True)
    if magic != VOLATILE_MAGIC:
        raise FormatError(f"Bad volatile header magic: {magic:#x}", kind=ErrorKind.UNSUPPORTED, offset=at)
    if replay:
        raise FormatError("Image is dirty, Replaying journal not supported", kind=ErrorKind.UNSUPPORTED, offset=at)
    if pad.strip(b"\0"):
        raise FormatError("Unsupported non-zero volatile header padding", kind=ErrorKind.UNSUPPORTED, offset=at)
    capacity = bounded_capacity(header.capacity, offset=16)
    grain = header.grain_size * SECTOR
    per_table = header.grain_table_size * SECTOR // WIDTH
    entries = -(-capacity // (grain * per_table))
    bounded_directory(entries, offset=16)
    if header.grain_dir_size * SECTOR < entries * WIDTH:
        raise FormatError(
            f"a grain directory of {header.grain_dir_size} sectors is too small for {capacity} bytes",
            kind=ErrorKind.CORRUPT,
            offset=136,
        )
    return Sparse(
        capacity=capacity,
        grain=grain,
        per_table=per_table,
        directory=bounded_capacity(header.grain_dir_offset, offset=128),
        entries=entries,
        width=WIDTH,
        tables=bounded_capacity(header.grain_tables_offset, offset=144),
        grains=bounded_capacity(header.grains_offset, offset=192),
    )
