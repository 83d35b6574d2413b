"""A file as it would be if its log had been replayed into it."""

from __future__ import annotations

from bisect import bisect_left

from instar_core.source import Source
from instar_vhdx.layout import LOG_SECTOR

TYPE_CHECKING = False
if TYPE_CHECKING:
    from instar_vhdx.log import Replay


class Overlay:
    """The sectors that a log changes, to be laid over a file."""

    __slots__ = ("_numbers", "_sectors")

    def __init__(self, replay: Replay) -> None:
        self._sectors = replay.sectors
        self._numbers = sorted(replay.sectors)

    def touches(self, offset: int, length: int) -> bool:
        """Whether the log changes any of these bytes."""
        at = bisect_left(self._numbers, offset // LOG_SECTOR)
        return at < len(self._numbers) and self._numbers[at] * LOG_SECTOR < offset + length

    def laid(self, data: bytes, offset: int) -> bytes:
        """`data`, which the file has at `offset`, with what the log changes in it."""
        at = bisect_left(self._numbers, offset // LOG_SECTOR)
        made = bytearray(data)
        end = offset + len(data)
        while at < len(self._numbers) and self._numbers[at] * LOG_SECTOR < end:
            number = self._numbers[at]
            start = number * LOG_SECTOR
            low, high = max(start, offset), min(start + LOG_SECTOR, end)
            sector = self._sectors[number]
            made[low - offset : high - offset] = sector[low - start : high - start] if sector else bytes(high - low)
            at += 1
        return bytes(made)


def replayed(main: Source, size: int, overlay: Overlay) -> Source:
    """The file under the overlay; where it is to be longer, zeros follow it."""

    def pread(length: int, offset: int) -> bytes:
        return overlay.laid(main.read(offset, length, pad=True), offset)

    return Source(pread, size, main.allocated)
