"""Opening an image that is going to be changed: only one whose tables can be trusted."""

from __future__ import annotations

from instar_core.errors import ErrorKind, FormatError
from instar_core.types import Kind, Severity
from instar_qcow import layout
from instar_qcow.check import Walk
from instar_qcow.header import read_header
from instar_qcow.tables import clusters, tables

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NamedTuple

    from instar_core.source import Source
    from instar_qcow.header import Header
else:
    from instar_core.record import NamedTuple


class Writable(NamedTuple):
    """An image in which nothing lies over anything else. From `end` on nothing is in use; before `first`, nothing but
    the header and the backing file's name. Both are bytes; `end` is a multiple of the cluster."""

    header: Header
    first: int
    end: int


def writable(source: Source) -> Writable:
    """The image. What is written into any other would be written into something else too.

    Raises FormatError (CORRUPT).
    """
    header = read_header(source)
    walk = Walk(source, header)
    for findings in (walk.metadata(), walk.content(), walk.places()):
        for found in findings:
            if found.severity == Severity.CORRUPTION:
                raise FormatError(
                    f"The image is damaged and must not be written to: {found.text}",
                    kind=ErrorKind.CORRUPT,
                    offset=found.offset,
                )
    low = header.l1_table_offset
    high = max(source.size, low + 8 * header.l1_size, layout.HEADER.size)
    for _, count, place in tables(source, header, 0, header.l1_size):
        if place:
            low, high = min(low, place), max(high, place + count * header.l2_bytes)
    size = header.cluster_size
    for _, count, kind, place, stored in clusters(source, header, 0, header.l1_size << header.l2_bits):
        if kind == Kind.DATA:
            # The last cluster of a file may be cut short there: it has the place of a whole one all the same.
            low, high = min(low, place), max(high, place + (stored or count * size))
    return Writable(header, low, -(-high // size) * size)
