"""The last edits of a new image, after which it opens."""

from __future__ import annotations

from instar_core.luks1 import make
from instar_core.types import Barrier, Put, Truncate
from instar_qcow2 import layout
from instar_qcow2.heading import heading
from instar_qcow2.sizes import luks_offset

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from instar_core.types import Edit
    from instar_qcow2.plan import Plan


def commit(plan: Plan, l1_offset: int, refcount_offset: int, refcount_clusters: int, size: int) -> Iterator[Edit]:
    """The file has `size` bytes and its LUKS header, if any, and, once all else is stable, its header."""
    if plan.encryption.method == layout.CRYPT_LUKS and plan.keys is not None:
        yield from make.edits(plan.keys, plan.entropy, luks_offset(plan, l1_offset))
    yield Truncate(size)
    yield Barrier()
    yield Put(0, heading(plan, l1_offset, refcount_offset, refcount_clusters))
