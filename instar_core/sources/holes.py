"""Where a source holds data and where holes, as lseek(2) asks for it: one place after the other."""

from __future__ import annotations

import errno
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from instar_core.sources.backend import Backend


class Holes:
    """What the source said last is kept, since the next question is about what comes behind."""

    def __init__(self, backend: Backend, size: int) -> None:
        self._backend = backend
        self._size = size
        self._start = 0
        self._known: list[tuple[int, bool]] = []

    def forget(self) -> None:
        """Something was written."""
        self._known = []

    def seek(self, offset: int, hole: bool) -> int:
        """The first place from `offset` on that is a hole, or data. Raises OSError (ENXIO) where there is none."""
        if not 0 <= offset < self._size:
            raise OSError(errno.ENXIO, os.strerror(errno.ENXIO))
        at = offset
        while at < self._size:
            end, data = self._stretch(at)
            if data != hole:
                return at
            at = end
        if hole:
            return self._size
        raise OSError(errno.ENXIO, os.strerror(errno.ENXIO))

    def _stretch(self, at: int) -> tuple[int, bool]:
        """Where the stretch that the place is in ends, and whether it is data."""
        for _ in range(2):
            start = self._start
            for length, data in self._known:
                if start <= at < start + length:
                    return min(start + length, self._size), data
                start += length
            self._start = at
            self._known = [(length, data) for length, data in self._backend.extents(at, self._size - at) if length > 0]
        raise OSError(errno.EIO, "the source does not say what lies there")
