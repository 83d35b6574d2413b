"""Emptying an image: all of its disk is what the backing file says."""

from __future__ import annotations

from instar_core.types import Barrier, Truncate, Zero
from instar_qed import layout
from instar_qed.header import read_header
from instar_qed.writable import begun, field_put

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from instar_core.source import Image
    from instar_core.types import Edit


def emptied(image: Image) -> Iterator[Edit]:
    """The image has no cluster but those of its header and its L1 table.

    It is empty with one write, that of the place of a new L1 table past the end of the file; then that table goes to
    the first clusters, which nothing has any more, and the rest of the file goes.
    """
    header = read_header(image.main)
    yield from begun(header)
    end, size = header.file_size, header.table_bytes
    home = max(header.first_byte, header.cluster_size)  # a header that says it has no cluster has one nevertheless
    yield Truncate(end)
    yield Truncate(end + size)
    yield Barrier()
    yield field_put(layout.L1_TABLE_OFFSET, end)
    yield Barrier()
    if home + size <= end:
        yield Zero(home, size)
        yield Barrier()
        yield field_put(layout.L1_TABLE_OFFSET, home)
        yield Barrier()
        yield Truncate(home + size)
        yield Barrier()
