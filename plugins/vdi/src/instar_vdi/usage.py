"""Which stored blocks an image has: where further ones go, and whether it may be written to at all."""

from __future__ import annotations

from instar_core.errors import ErrorKind, FormatError
from instar_core.ranges import Ranges
from instar_vdi import limits
from instar_vdi.blocks import ABSENT, stretches
from instar_vdi.info import CUT
from instar_vdi.opening import cut, open_image

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from instar_core.source import Source
    from instar_vdi.layout import Header

DAMAGED = "The image is damaged and must not be written to: {}"


class Usage:
    """`count` blocks of the disk are stored, the last of them as number `end` - 1; each stored block has one owner.

    `holes` are the numbers below that nothing has, as (first, count), ascending; a sound image has none.
    """

    __slots__ = ("count", "end", "holes")

    def __init__(self, source: Source, header: Header) -> None:
        """Raises FormatError (CORRUPT) for a block that does not exist or that two blocks of the disk claim."""
        used = Ranges(limits.STRETCHES)
        self.count = self.end = 0
        for block, count, index, step in stretches(source, header, 0, header.blocks):
            if index == ABSENT:
                continue
            last = index + step * (count - 1)
            if last >= header.blocks:
                raise _damaged(f"block index {block} too large, is {last}")
            if not step and count > 1:
                raise _damaged(f"block {index} is used more than once")
            self.count += count
            self.end = max(self.end, last + 1)
            used.add(index, count)
        self.holes: list[tuple[int, int]] = []
        if used.full:
            raise FormatError("The image is too fragmented to be written to", kind=ErrorKind.LIMIT)
        for first, _, reach in used.sorted():
            if first < reach:
                raise _damaged(f"block {first} is used more than once")
            if first > reach:
                self.holes.append((reach, first - reach))

    def allocate(self, count: int) -> Iterator[tuple[int, int]]:
        """Numbers for so many further blocks, as (first, count): holes first, as a number that is counted but not used
        is one that the next writer gives out again."""
        self.count += count
        while count:
            if self.holes:
                first, room = self.holes.pop(0)
                some = min(room, count)
                if room > some:
                    self.holes.insert(0, (first + some, room - some))
            else:
                first, some = self.end, count
                self.end += count
            yield first, some
            count -= some


def opened(source: Source) -> Header:
    """The header of an image whose block map is in the file. Raises FormatError."""
    header = open_image(source)
    if cut(source, header):
        raise FormatError(CUT, kind=ErrorKind.TRUNCATED, offset=source.size)
    return header


def _damaged(what: str) -> FormatError:
    return FormatError(DAMAGED.format(what), kind=ErrorKind.CORRUPT)
