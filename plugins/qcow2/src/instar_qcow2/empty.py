"""A new image without content, laid out as qemu does: header, refcount table and blocks, L1 table, LUKS header."""

from __future__ import annotations

from instar_qcow2.commit import commit
from instar_qcow2.counts import Counts
from instar_qcow2.level1 import Level1
from instar_qcow2.refcount_table import put_blocks, put_table
from instar_qcow2.sizes import l1_clusters, luks_offset, refcount_clusters

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from instar_core.types import Edit
    from instar_qcow2.plan import Plan


def empty(plan: Plan) -> Iterator[Edit]:
    """The image has no cluster allocated; the file ends with its L1 table, or LUKS header."""
    size, bits, order = plan.cluster_size, plan.cluster_bits, plan.refcount_order
    used = 1 + l1_clusters(plan) + plan.luks_clusters
    table, blocks = refcount_clusters(used, bits, order)
    blocks_offset = (1 + table) * size
    l1_offset = blocks_offset + blocks * size
    yield from put_table(size, table * size, [(blocks_offset, blocks)], size)
    yield from put_blocks(Counts(bits, order), blocks, blocks_offset, size, used + table + blocks)
    level1 = Level1(l1_offset, plan.tables)
    yield from level1.finish()
    end = (
        luks_offset(plan, l1_offset) + plan.luks_clusters * size if plan.luks_clusters else l1_offset + 8 * plan.tables
    )
    yield from commit(plan, l1_offset, size, table, end)
