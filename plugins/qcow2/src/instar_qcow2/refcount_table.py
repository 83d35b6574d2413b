"""Refcount blocks and the table that names them, as edits."""

from __future__ import annotations

from instar_core import limits as core
from instar_core.errors import ErrorKind, FormatError
from instar_core.types import Put, Zero
from instar_qcow2.tables import run_bytes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from instar_core.types import Edit
    from instar_qcow2.counts import Counts


def put_blocks(counts: Counts, count: int, offset: int, cluster_size: int, used: int) -> Iterator[Edit]:
    """The next `count` blocks stand at byte `offset`, counting an image of `used` clusters."""
    at_once = max(1, core.PUT // cluster_size)
    for first in range(0, count, at_once):
        here = min(at_once, count - first)
        yield Put(offset + first * cluster_size, b"".join(counts.take(used) for _ in range(here)))


def put_table(offset: int, size: int, places: list[tuple[int, int]], cluster_size: int) -> Iterator[Edit]:
    """The refcount table of `size` bytes at `offset` names the blocks that stand at `places`: (first offset, count).

    Raises FormatError where they are more than the table holds.
    """
    at = offset
    if 8 * sum(count for _, count in places) > size:
        raise FormatError("The image needs a larger refcount table than qcow2 images may have", kind=ErrorKind.LIMIT)
    waiting = b""
    for first, count in places:
        data = waiting + run_bytes(count, first, cluster_size)
        while len(data) > core.PUT:
            yield Put(at, data[: core.PUT])
            data, at = data[core.PUT :], at + core.PUT
        waiting = data
    yield from put_padded(at, waiting, offset + size - at)


def put_padded(offset: int, data: bytes, size: int) -> Iterator[Edit]:
    """`data` stands at `offset`, and zeros after it up to `size` bytes."""
    if data:
        yield Put(offset, data)
    if size > len(data):
        yield Zero(offset + len(data), size - len(data))
