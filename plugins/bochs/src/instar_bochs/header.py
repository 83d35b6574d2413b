"""Reading the header. Source: Bochs Developers Guide, "Harddisk Images based on redologs"."""

from __future__ import annotations

from instar_bochs import layout, limits
from instar_core.errors import ErrorKind, FormatError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NamedTuple

    from instar_core.source import Source
else:
    from instar_core.record import NamedTuple


class Header(NamedTuple):
    """A header whose sizes are possible. All are bytes, but `catalog` is entries; `disk` is whole sectors."""

    version: int
    header: int
    catalog: int
    bitmap: int
    extent: int
    disk: int

    @property
    def extents(self) -> int:
        """Entries of the catalog that the disk needs."""
        return -(-self.disk // self.extent)

    @property
    def bitmap_bytes(self) -> int:
        """Bytes that an extent's bitmap takes: whole sectors."""
        return -(-self.bitmap // layout.SECTOR) * layout.SECTOR

    @property
    def stride(self) -> int:
        """Bytes from one extent of the file to the next."""
        return self.bitmap_bytes + self.extent

    @property
    def data_offset(self) -> int:
        """Offset of the file's first extent."""
        return self.header + self.catalog * layout.ENTRY

    @property
    def blocked(self) -> str:
        """Why no content can be told; empty if it can."""
        if self.bitmap * 8 * layout.SECTOR < self.extent:
            return f"Bitmap size {self.bitmap} is too small for extents of {self.extent} bytes"
        return ""


def known(head: bytes) -> bool:
    """Whether the header is that of a growing disk, of a version that is known. At least 84 bytes are given."""
    magic, kind, subtype, version, *_ = layout.HEADER.unpack_from(head)
    texts = (magic, layout.MAGIC), (kind, layout.TYPE), (subtype, layout.SUBTYPE)
    return version in layout.VERSIONS and all(have.startswith(want + b"\0") for have, want in texts)


def read_header(source: Source) -> Header:
    """The header of the image. What qemu-img refuses raises FormatError, in its words and with the same fault first."""
    head = source.read(0, layout.HEADER_SIZE, pad=True)
    if not known(head):
        raise FormatError("Image not in Bochs format", offset=0)
    *_, version, size, catalog, bitmap, extent = layout.HEADER.unpack_from(head)
    at = layout.DISK_V1 if version == layout.VERSIONS[0] else layout.DISK_V2
    disk = int.from_bytes(head[at : at + 8], "little") // layout.SECTOR * layout.SECTOR
    if catalog > limits.CATALOG:
        raise FormatError("Catalog size is too large", kind=ErrorKind.LIMIT, offset=72)
    if extent < limits.EXTENT[0]:
        raise FormatError(f"Extent size must be at least {limits.EXTENT[0]}", offset=80)
    if extent & (extent - 1):
        raise FormatError(f"Extent size {extent} is not a power of two", offset=80)
    if extent > limits.EXTENT[1]:
        raise FormatError(f"Extent size {extent} is too large", kind=ErrorKind.LIMIT, offset=80)
    header = Header(version, size, catalog, bitmap, extent, disk)
    if catalog < header.extents:
        raise FormatError("Catalog size is too small for this disk size", kind=ErrorKind.INVALID, offset=72)
    return header
