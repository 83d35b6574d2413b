"""Reading the header. Source: docs/interop/qed_spec.rst of QEMU, "Header"."""

from __future__ import annotations

from instar_core.errors import ErrorKind, FormatError
from instar_core.limits import VIRTUAL_SIZE
from instar_qed import layout, limits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NamedTuple

    from instar_core.source import Source
else:
    from instar_core.record import NamedTuple


class Header(NamedTuple):
    """A header that fits its file. `file_size` is the bytes of the file's whole clusters."""

    cluster_size: int
    table_size: int
    header_size: int
    features: int
    autoclear_features: int
    l1_table_offset: int
    image_size: int
    file_size: int
    backing_filename: bytes

    @property
    def table_bytes(self) -> int:
        """Bytes of a table."""
        return self.table_size * self.cluster_size

    @property
    def entries(self) -> int:
        """Entries of a table."""
        return self.table_bytes // layout.ENTRY

    @property
    def first_byte(self) -> int:
        """Offset of the first regular cluster."""
        return self.header_size * self.cluster_size

    def cluster_fits(self, offset: int) -> bool:
        """Whether a regular cluster of the file can begin there."""
        return not offset % self.cluster_size and self.first_byte <= offset < self.file_size

    def table_fits(self, offset: int) -> bool:
        """Whether a table of regular clusters of the file can begin there."""
        last = offset + (self.table_size - 1) * self.cluster_size
        return self.cluster_fits(offset) and self.cluster_fits(last)


def read_header(source: Source) -> Header:
    """The header of the image. What qemu-img refuses raises FormatError, in its words and with the same fault first."""
    (
        magic,
        cluster_size,
        table_size,
        header_size,
        features,
        _,
        autoclear_features,
        l1_table_offset,
        image_size,
        name_offset,
        name_size,
    ) = source.unpack(layout.HEADER, 0, pad=True)
    if magic != layout.MAGIC:
        raise FormatError("Image not in QED format", offset=0)
    if features & ~layout.KNOWN:
        raise FormatError(
            f"Unsupported QED features: {features & ~layout.KNOWN:x}",
            kind=ErrorKind.UNSUPPORTED,
            offset=layout.FEATURES_OFFSET,
        )
    _power(cluster_size, limits.CLUSTER_SIZE, "QED cluster size is invalid", 4)
    _power(table_size, limits.TABLE_SIZE, "QED table size is invalid", 8)
    # As qemu sees it: a file has whole sectors, and what follows its last whole cluster is none.
    file_size = -(-source.size // layout.SECTOR) * layout.SECTOR // cluster_size * cluster_size
    header = Header(
        cluster_size, table_size, header_size, features, autoclear_features, l1_table_offset, image_size, file_size, b""
    )
    if image_size % layout.SECTOR or image_size > min(largest(cluster_size, table_size), VIRTUAL_SIZE):
        raise FormatError("QED image size is invalid", offset=48)
    if not header.table_fits(l1_table_offset):
        raise FormatError("QED table offset is invalid", kind=ErrorKind.OUT_OF_BOUNDS, offset=40)
    if features & layout.BACKING_FILE:
        header = header._replace(backing_filename=_name(source, header.first_byte, name_offset, name_size))
    return header


def largest(cluster_size: int, table_size: int) -> int:
    """Bytes of the largest disk that tables of this size can map."""
    entries = table_size * cluster_size // layout.ENTRY
    return entries * entries * cluster_size


def _power(value: int, bounds: tuple[int, int], message: str, offset: int) -> None:
    if value & (value - 1) or not bounds[0] <= value <= bounds[1]:
        raise FormatError(message, offset=offset)


def _name(source: Source, room: int, offset: int, size: int) -> bytes:
    """The backing file's name, which may be empty; it ends at its first NUL, as in qemu."""
    if offset + size > room:
        raise FormatError("QED backing filename offset is invalid", kind=ErrorKind.OUT_OF_BOUNDS, offset=56)
    if size > limits.BACKING_NAME or offset + size > source.size:
        raise FormatError("Failed to read backing filename", kind=ErrorKind.LIMIT, offset=60)
    return source.read(offset, size).partition(b"\0")[0]
