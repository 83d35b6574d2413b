"""Mending a QED image: no entry names no place, no cluster is leaked, and no mark says that a check is needed."""

from __future__ import annotations

from itertools import islice

from instar_core.types import Barrier, Put, Zero
from instar_qed import layout, limits
from instar_qed.compact import compacted, compaction
from instar_qed.header import read_header
from instar_qed.walk import Misplaced, Walk

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from instar_core.source import Image, Source
    from instar_core.types import Edit, Repair
    from instar_qed.compact import Compaction
    from instar_qed.header import Header


def mended(image: Image, request: Repair) -> Iterator[Edit]:
    """The image has no entry that names no place, unless only leaks are to be mended.

    It needs no check any more if nothing is left but leaks, and has none of those that can be freed. Autoclear
    features, which nobody knows, are gone before anything else changes. A stop at any point leaves some of the wrong
    entries, or the leaks.
    """
    header = read_header(image.main)
    walk = Walk(image.main, header)
    begun = left = False
    for fault in walk.faults():
        if not isinstance(fault, Misplaced) or request.mode != "all":
            left = True
            continue
        if not begun:
            yield from _cleared(header.autoclear_features)
        begun = True
        yield Zero(fault.offset, fault.entries * layout.ENTRY)
    if left:
        return
    plan = freeing(image.main, header, walk, faulty=begun)
    marked = header.features & layout.NEED_CHECK
    if not begun and (plan or marked):
        yield from _cleared(header.autoclear_features)
    if plan:
        yield from compacted(image.main, header, plan)
    if marked:
        yield Barrier()
        features = header.features & ~layout.NEED_CHECK
        yield Put(layout.FEATURES_OFFSET, features.to_bytes(8, "little"))


def freeing(source: Source, header: Header, walk: Walk, *, faulty: bool) -> Compaction | None:
    """How a repair frees the leaks that the walk, now over, found in an image in which no cluster has two owners.

    None where it cannot, and where tables would be moved in which it makes entries unallocated as well (`faulty`).
    """
    leaks = list(islice(walk.leaks(), limits.LEAKS + 1))
    plan = compaction(source, header, leaks) if 0 < len(leaks) <= limits.LEAKS else None
    return None if plan is not None and faulty and plan.moves else plan


def _cleared(features: int) -> Iterator[Edit]:
    if features:
        yield Put(layout.AUTOCLEAR_OFFSET, bytes(8))
        yield Barrier()
