"""Opening an image that is going to be changed: only one whose BAT can be trusted, and without what would be stale."""

from __future__ import annotations

from instar_core.errors import ErrorKind, FormatError
from instar_core.types import Barrier, Put
from instar_parallels.check import duplicates
from instar_parallels.clusters import Where, stretches
from instar_parallels.layout import EMPTY, EXT_MAGIC, HEADER, IN_USE
from instar_parallels.opening import open_disk

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from instar_core.source import Source
    from instar_core.types import Edit
    from instar_parallels.layout import Header
    from instar_parallels.opening import Disk


def writable(source: Source) -> Disk:
    """The image, in which every cluster has one owner and lies in the data area.

    Raises FormatError (CORRUPT) for any other, as what is written into that would be written into something else too,
    and for one that a program has open, or had when it died.
    """
    disk = open_disk(source)
    if disk.header.in_use == IN_USE:
        raise _damaged("it was not closed correctly")
    if disk.misplaced:
        raise _damaged("data_off field has incorrect value")
    for entry, _, where, _, _ in stretches(source, disk, 0, disk.entries):
        if where == Where.OUTSIDE:
            raise _damaged(f"cluster {entry} is outside image")
    for entry, _ in duplicates(source, disk):
        raise _damaged(f"duplicate offset in BAT entry {entry}")
    return disk


def _damaged(what: str) -> FormatError:
    return FormatError(f"The image must be repaired before it is written to: {what}", kind=ErrorKind.CORRUPT, offset=0)


def begun(disk: Disk) -> Iterator[Edit]:
    """The header says nothing any more that a change would make untrue.

    The Format Extension is gone: its bitmaps say what differs from a backup, and nothing here adds to them. in_use says
    so too: 0 is what a program leaves that does not know the extension. The mark of an empty image goes.
    """
    header = bare(disk).header
    if header != disk.header:
        yield heading(header)
        yield Barrier()


def bare(disk: Disk) -> Disk:
    """The image as it is once it has `begun`: nothing is the extension's any more."""
    header = disk.header
    if not header.ext_off:
        return disk._replace(header=header._replace(flags=header.flags & ~EMPTY))
    return disk._replace(header=header._replace(ext_off=0, in_use=0, flags=header.flags & ~EMPTY), bitmaps=())


def heading(header: Header, **fields: Any) -> Put:
    """The write by which the header has these fields: all of them or none, as it lies in one sector."""
    return Put(0, HEADER.pack(*header._replace(**fields)))


def aligned(disk: Disk, end: int) -> int:
    """The first place for a cluster from `end` on."""
    base = 0 if disk.header.magic == EXT_MAGIC else disk.data
    return base + -(-(end - base) // disk.cluster) * disk.cluster
