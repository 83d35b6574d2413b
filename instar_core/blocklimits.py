"""Block limits as qemu-img info tells them: of an image by its format, and of the file that it lies in."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from instar_core.chain import Member

SECTOR: Final = 512
MEMORY: Final = 4096
VECTORS: Final = 1024
BY_SECTORS: Final = frozenset({"vhdx", "qed", "qcow", "parallels", "luks", "dmg", "bochs", "cloop"})
"""Formats that are read and written by whole sectors."""
ZEROED_BY_CLUSTERS: Final = frozenset({"qcow2", "qed", "vmdk"})
MOST_ZEROES: Final = (1 << 31) - 1
SUBCLUSTERS: Final = 32

Limits = tuple[tuple[str, int], ...]


def of_file(*, direct: bool) -> Limits:
    """Of a file, opened through the page cache or past it (`direct`), in bytes."""
    unit = SECTOR if direct else 1
    return (
        ("request-alignment", unit),
        ("min-mem-alignment", unit),
        ("opt-mem-alignment", MEMORY),
        ("max-iov", VECTORS),
    )


def of_image(member: Member, *, direct: bool, probed: bool) -> Limits:
    """Of an image; `probed` where nobody said what format it has."""
    info = member.info
    sectors = member.format in BY_SECTORS or info.encrypted or (member.format == "raw" and probed)
    limits = dict(of_file(direct=direct), **{"request-alignment": SECTOR if sectors else 1})
    cluster = info.cluster_size if member.format in ZEROED_BY_CLUSTERS else 0
    if member.format == "qcow2":
        limits["discard-alignment"] = cluster
        if info.details.get("extended-l2"):
            cluster //= SUBCLUSTERS
    if cluster:
        limits["write-zeroes-alignment"] = cluster
    if member.format == "qed":
        limits["max-write-zeroes"] = MOST_ZEROES // cluster * cluster
    return tuple(limits.items())
