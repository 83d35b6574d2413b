"""The last edits of a new image, after which it opens."""

from __future__ import annotations

from instar_core.types import Barrier, Put, Truncate
from instar_qcow2.heading import heading

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from instar_core.types import Edit
    from instar_qcow2.plan import Plan


def commit(plan: Plan, l1_offset: int, refcount_offset: int, refcount_clusters: int, size: int) -> Iterator[Edit]:
    """The file has `size` bytes, and, once all else is stable, its header."""
    yield Truncate(size)
    yield Barrier()
    yield Put(0, heading(plan, l1_offset, refcount_offset, refcount_clusters))
