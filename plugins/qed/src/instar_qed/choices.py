"""What the options of create ask for."""

from __future__ import annotations

from instar_core.errors import ErrorKind, FormatError
from instar_core.limits import VIRTUAL_SIZE
from instar_qed import layout, limits
from instar_qed.header import largest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NamedTuple

    from instar_core.types import Create
else:
    from instar_core.record import NamedTuple

CLUSTER_SIZE = 1 << 16
TABLE_SIZE = 4


class Choices(NamedTuple):
    """A new image's parameters. `size` is bytes, a multiple of 512; `backing` is empty for none."""

    size: int
    cluster_size: int
    table_size: int
    backing: bytes
    backing_is_raw: bool

    @property
    def table_bytes(self) -> int:
        """Bytes of a table."""
        return self.table_size * self.cluster_size

    @property
    def entries(self) -> int:
        """Entries of a table."""
        return self.table_bytes // layout.ENTRY

    @property
    def clusters(self) -> int:
        """Clusters of the disk."""
        return -(-self.size // self.cluster_size)

    @property
    def overhead(self) -> int:
        """Bytes of the header and of all tables of the fully allocated image."""
        return self.cluster_size + self.table_bytes * (1 + -(-self.clusters // self.entries))


def chosen(request: Create) -> Choices:
    """What `request` asks for. Raises FormatError (USAGE), in qemu's words, for what cannot be had."""
    options = request.options
    cluster_size = options.get("cluster_size")
    cluster_size = CLUSTER_SIZE if cluster_size is None else cluster_size
    table_size = options.get("table_size")
    table_size = TABLE_SIZE if table_size is None else table_size
    for value, (least, most), what in (
        (cluster_size, limits.CLUSTER_SIZE, "cluster"),
        (table_size, limits.TABLE_SIZE, "table"),
    ):
        if value & (value - 1) or not least <= value <= most:
            raise FormatError(
                f"QED {what} size must be within range [{least}, {most}] and power of 2", kind=ErrorKind.USAGE
            )
    size = -(-request.size // layout.SECTOR) * layout.SECTOR
    # As in qemu, which cannot reckon past 64 bits and opens no image of such tables either.
    most = largest(cluster_size, table_size) % (1 << 64)
    if size > min(most, VIRTUAL_SIZE):
        raise FormatError(
            f"QED image size must be a non-zero multiple of cluster size and less than {most} bytes",
            kind=ErrorKind.USAGE,
        )
    given = request.backing or {}
    backing = _name(given.get("name") or options.get("backing_file"))
    kind = given.get("format") or options.get("backing_fmt")
    if len(backing) > min(limits.BACKING_NAME, cluster_size - layout.HEADER.size):
        # qemu writes what it refuses to open.
        raise FormatError("QED backing filename offset is invalid", kind=ErrorKind.USAGE)
    return Choices(size, cluster_size, table_size, backing, kind == "raw")


def _name(value: object) -> bytes:
    if isinstance(value, str):
        return value.encode("utf-8", "surrogateescape")
    return bytes(value) if isinstance(value, (bytes, bytearray)) else b""
