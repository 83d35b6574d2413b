"""Mending a QED image: entries that name no place become unallocated, and the need-check bit is cleared."""

from __future__ import annotations

from instar_core.types import Barrier, Put, Zero
from instar_qed import layout
from instar_qed.header import read_header
from instar_qed.walk import Misplaced, Walk

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from instar_core.source import Image
    from instar_core.types import Edit, Repair


def mended(image: Image, request: Repair) -> Iterator[Edit]:
    """The image has no entry that names no place, unless only leaks are to be mended, of which qemu mends none either.

    It needs no check any more if nothing is left but leaks. Autoclear features, which nobody knows, are gone before
    anything else changes. A stop at any point leaves some of the wrong entries.
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
    if left or not header.features & layout.NEED_CHECK:
        return
    if not begun:
        yield from _cleared(header.autoclear_features)
    yield Barrier()
    features = header.features & ~layout.NEED_CHECK
    yield Put(layout.FEATURES_OFFSET, features.to_bytes(8, "little"))


def _cleared(features: int) -> Iterator[Edit]:
    if features:
        yield Put(layout.AUTOCLEAR_OFFSET, bytes(8))
        yield Barrier()
