"""Writing only what changes of a table that lies in the image."""

from __future__ import annotations

from instar_core import limits as core
from instar_core.types import Put

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

SECTOR = 512


def differing(offset: int, before: bytes | bytearray, after: bytes | bytearray) -> Iterator[Put]:
    """Writes that turn the bytes `before` at `offset` into `after` (of the same length), whole sectors of the file.

    Neighbouring sectors go in one write, which may be torn between them.
    """
    if before == after:
        return
    start = -1
    for at, end in sectors(offset, len(after)):
        same = before[at:end] == after[at:end]
        if start >= 0 and (same or at - start >= core.PUT):
            yield Put(offset + start, bytes(after[start:at]))
            start = -1
        if not same and start < 0:
            start = at
    if start >= 0:
        yield Put(offset + start, bytes(after[start:]))


def sectors(offset: int, length: int) -> Iterator[tuple[int, int]]:
    """(start, end) of the parts, in `length` bytes at `offset` of a file, that lie in one sector each."""
    at = 0
    while at < length:
        end = min(length, at + SECTOR - (offset + at) % SECTOR)
        yield at, end
        at = end
