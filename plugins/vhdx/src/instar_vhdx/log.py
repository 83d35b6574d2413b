"""The log of a VHDX file: which of its entries count, and what they say ([MS-VHDX] 2.3).

The log is a ring of sectors of 4 KiB. Its active sequence is the run of valid entries, each following the one before,
that ends with the highest sequence number and holds the entry where, by its last one, it begins.
"""

from __future__ import annotations

from instar_core.errors import ErrorKind, FormatError
from instar_vhdx import limits
from instar_vhdx.crc import summed
from instar_vhdx.layout import (
    DATA_HEAD,
    DATA_MAGIC,
    DATA_TAIL,
    DESCRIPTOR,
    LOG_ENTRY,
    LOG_MAGIC,
    LOG_SECTOR,
    SECTOR_MAGIC,
    ZERO_MAGIC,
    Header,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NamedTuple

    from instar_core.source import Source
else:
    from instar_core.record import NamedTuple


class Entry(NamedTuple):
    """A valid entry: `place` and `length` in the ring; `tail` is where its sequence begins."""

    place: int
    length: int
    tail: int
    sequence: int
    descriptors: int
    flushed: int
    last: int


class Replay(NamedTuple):
    """What the log says of the file: sectors of 4 KiB by number (None: zeros), and how long the file is to be."""

    sectors: dict[int, bytes | None]
    size: int
    entries: int


class Ring:
    """The log's bytes, looked at as entries. Each place is judged once."""

    __slots__ = ("_data", "_guid", "_judged", "_left")

    def __init__(self, data: bytes, guid: bytes) -> None:
        self._data = data
        self._guid = guid
        self._judged: dict[int, Entry | None] = {}
        self._left = limits.LOG_WORK * len(data)

    def __len__(self) -> int:
        return len(self._data)

    def read(self, place: int, length: int) -> bytes:
        """The bytes from `place` on, over the ring's end where they go on there."""
        head = self._data[place : place + length]
        return head + self._data[: length - len(head)]

    def entry(self, place: int) -> Entry | None:
        """The entry at `place`, if a valid one is there. Raises FormatError (LIMIT) for a log made to be slow."""
        if place not in self._judged:
            self._judged[place] = self._judge(place)
        return self._judged[place]

    def _judge(self, place: int) -> Entry | None:
        magic, checksum, length, tail, sequence, count, _, guid, flushed, last = LOG_ENTRY.unpack_from(
            self._data, place
        )
        if magic != LOG_MAGIC or guid != self._guid or not sequence:
            return None
        if length % LOG_SECTOR or not 0 < length <= len(self._data) or tail % LOG_SECTOR or tail >= len(self._data):
            return None
        if LOG_ENTRY.size + count * DESCRIPTOR.size > length:
            return None
        self._left -= length
        if self._left < 0:
            raise FormatError("the entries of the log lie over one another", kind=ErrorKind.LIMIT)
        data = self.read(place, length)
        if not _sound(data, sequence, count) or checksum != summed(data):
            return None
        return Entry(place, length, tail, sequence, count, flushed, last)


def _descriptor_sectors(count: int) -> int:
    return -(-(LOG_ENTRY.size + count * DESCRIPTOR.size) // LOG_SECTOR)


def _sound(data: bytes, sequence: int, count: int) -> bool:
    """Whether descriptors and data sectors are all there, and of this sequence number."""
    sector = _descriptor_sectors(count) * LOG_SECTOR
    end = LOG_ENTRY.size + count * DESCRIPTOR.size
    for magic, _, length, offset, number in DESCRIPTOR.iter_unpack(data[LOG_ENTRY.size : end]):
        if number != sequence or offset % LOG_SECTOR:
            return False
        if magic == ZERO_MAGIC:
            if length % LOG_SECTOR:
                return False
            continue
        if magic != DATA_MAGIC or sector + LOG_SECTOR > len(data):
            return False
        mark, high = DATA_HEAD.unpack_from(data, sector)
        (low,) = DATA_TAIL.unpack_from(data, sector + LOG_SECTOR - DATA_TAIL.size)
        if mark != SECTOR_MAGIC or high << 32 | low != sequence:
            return False
        sector += LOG_SECTOR
    return True


def active_sequence(ring: Ring) -> list[Entry]:
    """The entries that count, oldest first; none where the log holds no valid sequence ([MS-VHDX] 2.3.2)."""
    best: list[Entry] = []
    tail = 0
    while tail < len(ring):
        found = _sequence(ring, tail)
        if not found:
            tail += LOG_SECTOR
            continue
        begin = next((at for at, entry in enumerate(found) if entry.place == found[-1].tail), None)
        if begin is not None and (not best or found[-1].sequence > best[-1].sequence):
            best = found[begin:]
        # A sequence that begins later in this run has the same last entry, and is valid only if this one is.
        tail += sum(entry.length for entry in found)
    return best


def _sequence(ring: Ring, place: int) -> list[Entry]:
    found: list[Entry] = []
    left = len(ring)
    while left > 0:
        entry = ring.entry(place)
        if entry is None or entry.length > left or (found and entry.sequence != found[-1].sequence + 1):
            break
        found.append(entry)
        left -= entry.length
        place = (place + entry.length) % len(ring)
    return found


def replay(source: Source, header: Header) -> Replay | None:
    """What the file's log has that the file may not have yet; None where it has nothing.

    Raises FormatError for a log that is longer than can be replayed, that the file does not hold, or that says that
    the file was longer.
    """
    if header.log_length > limits.LOG:
        raise FormatError(
            f"a log of {header.log_length} bytes is too long to be replayed",
            kind=ErrorKind.LIMIT,
            offset=header.log_offset,
        )
    ring = Ring(source.read(header.log_offset, header.log_length), header.log_guid)
    entries = active_sequence(ring)
    if not entries:
        return None
    newest = entries[-1]
    if newest.flushed > source.size:
        raise FormatError(
            f"the file ends at {source.size}, but had {newest.flushed} bytes when its log was written",
            kind=ErrorKind.TRUNCATED,
            offset=newest.flushed,
        )
    if newest.last > limits.FILE:
        raise FormatError(f"the log wants a file of {newest.last} bytes", kind=ErrorKind.LIMIT)
    sectors: dict[int, bytes | None] = {}
    zeroed = 0
    for entry in entries:
        zeroed += _apply(ring.read(entry.place, entry.length), entry.descriptors, sectors, limits.LOG_ZEROED - zeroed)
    return Replay(sectors, max(source.size, newest.last), len(entries))


def _apply(data: bytes, count: int, sectors: dict[int, bytes | None], room: int) -> int:
    """One entry's sectors take their places; the answer is the bytes that it zeroes."""
    sector = _descriptor_sectors(count) * LOG_SECTOR
    zeroed = 0
    for magic, trailing, leading, offset, _ in DESCRIPTOR.iter_unpack(
        data[LOG_ENTRY.size : LOG_ENTRY.size + count * DESCRIPTOR.size]
    ):
        if offset > limits.FILE:
            raise FormatError(f"the log changes the file at {offset}", kind=ErrorKind.OUT_OF_BOUNDS)
        number = offset // LOG_SECTOR
        if magic == ZERO_MAGIC:
            zeroed += leading
            if zeroed > room:
                raise FormatError("the log zeroes more than metadata can be long", kind=ErrorKind.LIMIT)
            for each in range(number, number + leading // LOG_SECTOR):
                sectors[each] = None
            continue
        middle = data[sector + DATA_HEAD.size : sector + LOG_SECTOR - DATA_TAIL.size]
        sectors[number] = leading.to_bytes(8, "little") + middle + trailing
        sector += LOG_SECTOR
    return zeroed
