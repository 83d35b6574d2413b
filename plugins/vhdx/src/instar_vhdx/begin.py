"""The first writes of any change to a VHDX file: its log replayed, its identifiers renewed ([MS-VHDX] 2.2.2, 2.3.3)."""

from __future__ import annotations

from instar_core.errors import ErrorKind, FormatError
from instar_core.types import Barrier, Truncate
from instar_vhdx.heads import random_guid
from instar_vhdx.layout import NO_GUID
from instar_vhdx.repair import SEQUENCES, both, harmless, log_sectors, tables

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from instar_core.source import Image
    from instar_core.types import Edit
    from instar_vhdx.opening import Disk


def begun(image: Image, disk: Disk, entropy: bytes, *, content: bool) -> Iterator[Edit]:
    """The file may be changed: it has a new identifier, and with `content` its content too; no log is in use, and
    both region tables are sound. What `disk.source` reads is in the file.

    Raises FormatError for headers that have run out of numbers, and a log that would overwrite headers or itself.
    """
    header = disk.header._replace(file_write_guid=random_guid(entropy[:16]))
    if header.sequence >= SEQUENCES - 4:
        raise FormatError("the headers have run out of sequence numbers", kind=ErrorKind.UNSUPPORTED)
    if content:
        header = header._replace(data_write_guid=random_guid(entropy[16:32]))
    if disk.replay is not None:
        harmless(disk.replay, disk.header)
    yield from both(header)
    if disk.replay is not None:
        if disk.replay.size > image.main.size:
            yield Truncate(disk.replay.size)
        yield from log_sectors(disk.replay)
        yield Barrier()
    yield from tables(disk.source)
    if header.log_guid != NO_GUID:
        yield from both(header._replace(sequence=header.sequence + 2, log_guid=NO_GUID))
