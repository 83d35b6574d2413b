"""Hosted sparse extents: header, footer, and what they say about reading.

Virtual Disk Format 5.0, "Hosted Sparse Extents" and "Stream-Optimized Compressed".
"""

from __future__ import annotations

from instar_core import limits as core_limits
from instar_core.errors import ErrorKind, FormatError
from instar_vmdk import limits
from instar_vmdk.layout import (
    DEFLATE,
    GD_AT_END,
    HOSTED,
    HOSTED_MAGIC,
    METADATA_MARKER,
    SECTOR,
    HeaderFlag,
    HostedHeader,
    MarkerType,
    Sparse,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from instar_core.source import Source

FOOTER = 3 * SECTOR
"""Bytes from the end of the file (rounded up to sectors) at which the footer's marker stands."""


def header_of(source: Source) -> HostedHeader:
    """The header that counts: the first sector, or the footer where the first sector says that it does.

    Raises FormatError (INVALID) for a footer that is none.
    """
    header = HostedHeader._make(source.unpack(HOSTED, 0, pad=True))
    if header.gd_offset != GD_AT_END:
        return header
    footer = footer_of(source)
    if footer is None:
        at = max(0, -(-source.size // SECTOR) * SECTOR - FOOTER)
        raise FormatError("Invalid argument: the footer of the stream-optimized file is missing", offset=at)
    return footer


def footer_of(source: Source) -> HostedHeader | None:
    """The second header, near the end of a stream-optimised file, between its marker and the last one."""
    at = -(-source.size // SECTOR) * SECTOR - FOOTER
    if at < 0:
        return None
    _, size, kind = source.unpack(METADATA_MARKER, at, pad=True)
    footer = HostedHeader._make(source.unpack(HOSTED, at + SECTOR, pad=True))
    end = source.unpack(METADATA_MARKER, at + 2 * SECTOR, pad=True)
    if (size, kind) != (0, MarkerType.FOOTER) or footer.magic != HOSTED_MAGIC or end != (0, 0, 0):
        return None
    return footer


def open_hosted(source: Source) -> Sparse:
    """How to read the hosted sparse extent `source`. Raises FormatError, in qemu's words, for what cannot be."""
    header = header_of(source)
    if header.version > 3:
        raise FormatError(f"Unsupported VMDK version {header.version}", kind=ErrorKind.UNSUPPORTED, offset=4)
    if header.num_gtes > limits.TABLE_ENTRIES:
        raise FormatError("L2 table size too big", kind=ErrorKind.LIMIT, offset=44)
    # The product is a 32-bit number in qemu, and so is the message that hostile images get.
    if not header.num_gtes * header.grain_size & 0xFFFFFFFF:
        raise FormatError("L1 entry size is invalid", offset=20)
    capacity = bounded_capacity(header.capacity, offset=12)
    if source.size < header.overhead * SECTOR - SECTOR + 1:
        raise FormatError(
            f"File truncated, expecting at least {header.overhead * SECTOR} bytes", kind=ErrorKind.TRUNCATED, offset=64
        )
    bounded_grain(header.grain_size, offset=20)
    grain = header.grain_size * SECTOR
    entries = -(-capacity // (grain * header.num_gtes))
    bounded_directory(entries, offset=12)
    compressed = header.compress == DEFLATE
    if compressed and grain > limits.COMPRESSED_GRAIN:
        raise FormatError(f"compressed grains of {grain} bytes are too large", kind=ErrorKind.UNSUPPORTED, offset=20)
    return Sparse(
        capacity=capacity,
        grain=grain,
        per_table=header.num_gtes,
        directory=header.gd_offset * SECTOR,
        entries=entries,
        redundant=header.rgd_offset * SECTOR if header.flags & HeaderFlag.REDUNDANT else 0,
        zeroed=bool(header.flags & HeaderFlag.ZEROED),
        compressed=compressed,
        marked=bool(header.flags & HeaderFlag.MARKERS),
        overhead=header.overhead * SECTOR,
    )


def bounded_capacity(sectors: int, *, offset: int) -> int:
    """A capacity in bytes. Raises FormatError (LIMIT) above limits.VIRTUAL_SIZE."""
    if sectors * SECTOR > core_limits.VIRTUAL_SIZE:
        raise FormatError("Image size is too large", kind=ErrorKind.LIMIT, offset=offset)
    return sectors * SECTOR


def bounded_grain(sectors: int, *, offset: int) -> None:
    """Passes grains of 1 sector to limits.GRAIN_SECTORS; raises FormatError for others."""
    if not 0 < sectors <= limits.GRAIN_SECTORS:
        raise FormatError("Invalid granularity, image may be corrupt", kind=ErrorKind.LIMIT, offset=offset)


def bounded_directory(entries: int, *, offset: int) -> None:
    """Passes directories of at most limits.DIRECTORY_ENTRIES entries; raises FormatError (LIMIT) for others."""
    if entries > limits.DIRECTORY_ENTRIES:
        raise FormatError("L1 size too big", kind=ErrorKind.LIMIT, offset=offset)
