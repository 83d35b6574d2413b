"""Places in a file, new or growing, for what is about to be written there."""

from __future__ import annotations

import os

from instar_core.dataplane import ioctls
from instar_core.dataplane.positional import is_direct

LEAST = 256 << 10
"""Bytes written at once for which it pays to ask."""


class Allocating:
    """Has the file system choose the place of a large write first, as one extent, where that makes it quicker.

    That is ext4: a write of a MiB whose blocks have no place yet takes it half as long again. Others gain nothing, and
    lose what they would decide when they write the pages back (btrfs whether to compress).
    """

    __slots__ = ("_fresh", "_gaining")

    def __init__(self, *, fresh: bool) -> None:
        """`fresh`: the targets have no places yet; else only behind their ends."""
        self._fresh = fresh
        self._gaining: dict[int, bool] = {}

    def before(self, target: int, offset: int, length: int) -> None:
        """All of the range is about to be written. A file system that is full says so when that is done."""
        if length < LEAST or (not self._fresh and offset < os.fstat(target).st_size):
            return
        gaining = self._gaining.get(target)
        if gaining is None:
            gaining = self._gaining[target] = ioctls.has_extents(target) and not is_direct(target)
        if gaining:
            try:
                self._gaining[target] = ioctls.allocate(target, offset, length)
            except OSError:
                self._gaining[target] = False
