"""How many clusters the metadata of an image takes. Source: docs/interop/qcow2.txt of QEMU."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from instar_qcow2.plan import Plan


def ceil_div(value: int, by: int) -> int:
    """`value` divided by `by`, rounded up."""
    return -(-value // by)


def refcounts_per_block(cluster_bits: int, refcount_order: int) -> int:
    """Refcounts in one refcount block, which is one cluster."""
    return 8 << cluster_bits >> refcount_order


def refcount_clusters(clusters: int, cluster_bits: int, refcount_order: int) -> tuple[int, int]:
    """(clusters of the table, blocks) that count `clusters` other clusters and themselves."""
    per_block = refcounts_per_block(cluster_bits, refcount_order)
    table = blocks = 0
    while True:
        wanted = ceil_div(clusters + table + blocks, per_block)
        needed = ceil_div(8 * wanted, 1 << cluster_bits)
        if (needed, wanted) == (table, blocks):
            return table, blocks
        table, blocks = needed, wanted


def l1_clusters(plan: Plan) -> int:
    """Clusters of the L1 table; none where the disk has size 0."""
    return ceil_div(8 * plan.tables, plan.cluster_size)


def luks_offset(plan: Plan, l1_offset: int) -> int:
    """Where the LUKS header lies: behind the L1 table, as in images that qemu makes."""
    return l1_offset + l1_clusters(plan) * plan.cluster_size


def full_refcounts(plan: Plan) -> tuple[int, int]:
    """(clusters of the refcount table, blocks) of the image with every cluster allocated in it."""
    clusters = 1 + l1_clusters(plan) + plan.luks_clusters + plan.tables + (0 if plan.data_file else plan.clusters)
    return refcount_clusters(clusters, plan.cluster_bits, plan.refcount_order)


def overhead(plan: Plan) -> int:
    """Bytes of metadata of the fully allocated image, reckoned as qemu-img measure does.

    It counts the data clusters also where they lie in a data file.
    """
    fixed = 1 + plan.tables + l1_clusters(plan) + plan.luks_clusters
    table, blocks = refcount_clusters(fixed + plan.clusters, plan.cluster_bits, plan.refcount_order)
    return (fixed + table + blocks) * plan.cluster_size
