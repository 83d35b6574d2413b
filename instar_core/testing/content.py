"""What a test disk holds, and the runs in which a host offers it to a writer."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from instar_core import codecs
from instar_core.testing.medium import PAGE, Disk
from instar_core.types import Coding, Kind, Run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from random import Random

    from instar_core.types import Geometry

SECTOR = 512
MOST = 1 << 20
"""Bytes of random content that one disk holds at most, whatever its size, unless it is to be full."""


class Offer(NamedTuple):
    """A run and the bytes that a copy of it puts down: the content, or what it is encoded to."""

    run: Run
    data: bytes


def scattered(random: Random, size: int) -> Disk:
    """A disk with random, repeating and zero stretches at odd places, its first and last sectors among them."""
    disk = Disk()
    places = [(0, min(size, SECTOR)), (max(0, size - SECTOR), min(size, SECTOR))]
    budget = MOST
    while budget > 0 and size:
        length = min(random.choice((1, SECTOR, 4096, 65536, 200_000, 2 * PAGE)), budget, size)
        budget -= max(length, MOST // 24)
        start = random.randrange(size - length + 1)
        if random.random() < 0.6:
            start = min(start // 65536 * 65536, size - length)
        places.append((start, length))
    for number, (start, length) in enumerate(places):
        if number > 2 and random.random() < 0.15:
            disk.zero(start, length)
        else:
            disk.write(start, filling(random, length))
    disk.truncate(size)
    return disk


def full(random: Random, size: int) -> Disk:
    """A disk in which no sector reads as zeros."""
    disk = Disk()
    disk.write(0, random.randbytes(size))
    for start in range(0, size, SECTOR):
        disk.write(start, b"\1")
    return disk


def filling(random: Random, length: int) -> bytes:
    """Random bytes, or such as compress well."""
    if random.random() < 0.5:
        return random.randbytes(length)
    word = random.randbytes(random.randrange(1, 40))
    return (word * (length // len(word) + 1))[:length]


def offers(disk: Disk, geometry: Geometry, *, compress: bool = False, random: Random | None = None) -> Iterator[Offer]:
    """The disk in runs, as a host makes them for this geometry: units that hold something, zeros where they are wanted.

    Neighbouring units go out as one run, or with `random` in runs of any length.
    """
    unit, size, coding = geometry.unit, disk.size, geometry.coding if compress else None
    start, length, kind = 0, 0, Kind.DATA
    for first, some, what in _units(disk, geometry):
        encoded = _encode(coding, disk.read(first, unit), geometry.coding_required) if coding and not what else None
        if encoded is not None or first != start + length or what != kind or (random and random.random() < 0.3):
            if length:
                yield Offer(Run(start, length, kind), disk.read(start, length) if kind == Kind.DATA else b"")
            start, length, kind = first, 0, what
        if encoded is None:
            length += some
        else:
            yield Offer(Run(first, min(unit, size - first), Kind.DATA, len(encoded), 1), encoded)
            start = first + some
    if length:
        yield Offer(Run(start, length, kind), disk.read(start, length) if kind == Kind.DATA else b"")


def _units(disk: Disk, geometry: Geometry) -> Iterator[tuple[int, int, int]]:
    """Start, length and kind of stretches of the disk, ascending: data unit by unit, zeros as long as they are."""
    unit, size = geometry.unit, disk.size
    at = 0
    if not geometry.full:
        for start, length in disk.ranges():
            first = max(at, start // unit * unit)
            if geometry.zeros and first > at:
                yield at, first - at, Kind.ZERO
            end = min(size, -(-(start + length) // unit) * unit)
            for place in range(first, end, unit):
                some = min(unit, size - place)
                if disk.read(place, some).strip(b"\0"):
                    yield place, some, Kind.DATA
                elif geometry.zeros:
                    yield place, some, Kind.ZERO
            at = max(at, end)
        if geometry.zeros and at < size:
            yield at, size - at, Kind.ZERO
        return
    for place in range(0, size, unit):
        yield place, min(unit, size - place), Kind.DATA


def _encode(coding: Coding, content: bytes, required: bool) -> bytes | None:
    """The content encoded; None where it does not shrink and need not be."""
    encode = codecs.encoder(coding.name)(coding.params, coding.unit)
    for room in (len(content) - 1, *((2 * len(content) + 1024,) if required else ())):
        out = bytearray(room)
        length = encode(memoryview(content), memoryview(out), 0)
        if 0 < length <= room:
            return bytes(out[:length])
    return None
