"""Opening an image that is going to be changed: only one whose tables can be trusted."""

from __future__ import annotations

from instar_core.errors import ErrorKind, FormatError
from instar_core.types import Barrier, Put
from instar_qed import layout
from instar_qed.header import read_header
from instar_qed.walk import Walk

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from instar_core.source import Source
    from instar_core.types import Edit
    from instar_qed.header import Header


def sound_header(source: Source) -> Header:
    """The header of an image in which every cluster has at most one owner.

    What is written into any other would be written into something else too. Raises FormatError (CORRUPT).
    """
    header = read_header(source)
    for fault in Walk(source, header).faults():
        raise FormatError(
            "The image is damaged and must be repaired before it is written to",
            kind=ErrorKind.CORRUPT,
            offset=fault.offset,
        )
    return header


def begun(header: Header) -> Iterator[Edit]:
    """Autoclear features, which nobody knows, are gone before anything changes, as the specification asks."""
    if header.autoclear_features:
        yield Put(layout.AUTOCLEAR_OFFSET, bytes(8))
        yield Barrier()


def entry(value: int) -> bytes:
    """An entry of a table, or a 64-bit field of the header, as a file has it."""
    return value.to_bytes(layout.ENTRY, "little")


def field_put(offset: int, value: int) -> Put:
    """A 64-bit field of the header gets the value: old or new, never torn."""
    return Put(offset, entry(value))
