"""Mending a VHDX image: its log replayed, damaged copies of header and region table made anew.

The headers change one at a time, the older one first, so that at any moment a valid one is there; the log is forgotten
only when all that it says is in the file ([MS-VHDX] 2.2.2.1, 2.3.3).
"""

from __future__ import annotations

from instar_core.errors import ErrorKind, FormatError
from instar_core.limits import PUT
from instar_core.types import Barrier, Punch, Put, Truncate
from instar_vhdx.heads import header_bytes, random_guid
from instar_vhdx.layout import HEADERS, LOG_SECTOR, NO_GUID, REGION_TABLES, Header
from instar_vhdx.opening import open_disk
from instar_vhdx.regions import valid_table

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from instar_core.source import Image, Source
    from instar_core.types import Edit, Repair
    from instar_vhdx.log import Replay

SEQUENCES = 1 << 64
MOST = PUT // LOG_SECTOR
"""Sectors that go into one edit."""


def repair_edits(image: Image, request: Repair) -> Iterator[Edit]:
    """What a check calls repairable is mended; with mode "leaks", as long as that needs no replay of the log.

    Raises FormatError for an image that cannot be opened, and for a log that would overwrite headers or itself.
    """
    disk = open_disk(image)
    replay = disk.replay
    if replay is not None:
        if request.mode != "all":
            return
        harmless(replay, disk.header)
    header = disk.header._replace(file_write_guid=random_guid(request.entropy[:16]))
    if header.sequence >= SEQUENCES - 4:
        raise FormatError("the headers have run out of sequence numbers", kind=ErrorKind.UNSUPPORTED)
    yield from both(header)
    if replay is not None:
        if replay.size > image.main.size:
            yield Truncate(replay.size)
        yield from log_sectors(replay)
        yield Barrier()
    yield from tables(disk.source)
    if header.log_guid != NO_GUID:
        yield from both(header._replace(sequence=header.sequence + 2, log_guid=NO_GUID))


def both(header: Header) -> Iterator[Edit]:
    """Both headers say what `header` does, with the next two sequence numbers; the one not in use comes first."""
    first, second = HEADERS
    for number, place in enumerate((second, first) if header.place == first else (first, second)):
        yield Put(place, header_bytes(header._replace(sequence=header.sequence + 1 + number)))
        yield Barrier()


def tables(source: Source) -> Iterator[Edit]:
    """Of two region tables the damaged one is what the other is."""
    tables = [valid_table(source, place) for place in REGION_TABLES]
    good = tables[0] or tables[1]
    for place, table in zip(REGION_TABLES, tables, strict=True):
        if table is None and good is not None:
            yield Put(place, good)
            yield Barrier()


def log_sectors(replay: Replay) -> Iterator[Edit]:
    """All that the log changes, in stretches."""
    start, zeros = 0, 0
    parts: list[bytes] = []
    for number in sorted(replay.sectors):
        sector = replay.sectors[number]
        here = number * LOG_SECTOR
        if (sector is None) == bool(parts) or here != start + zeros + len(parts) * LOG_SECTOR or len(parts) >= MOST:
            yield from _stretch(start, parts, zeros)
            start, parts, zeros = here, [], 0
        if sector is None:
            zeros += LOG_SECTOR
        else:
            parts.append(sector)
    yield from _stretch(start, parts, zeros)


def _stretch(start: int, parts: list[bytes], zeros: int) -> Iterator[Edit]:
    if parts:
        yield Put(start, b"".join(parts))
    if zeros:
        yield Punch(start, zeros)


def harmless(replay: Replay, header: Header) -> None:
    """Raises FormatError for a log that changes what it must not: identifier, headers, or the log itself."""
    log = range(header.log_offset // LOG_SECTOR, (header.log_offset + header.log_length) // LOG_SECTOR)
    for number in replay.sectors:
        if number in log or number * LOG_SECTOR < REGION_TABLES[0]:
            raise FormatError(
                f"the log would change its own file's headers or log, at {number * LOG_SECTOR}",
                kind=ErrorKind.CORRUPT,
                offset=number * LOG_SECTOR,
            )
