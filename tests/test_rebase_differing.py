"""What has to be written into an image so that it reads over another chain as it did: judged by laying the disks over
one another byte by byte, and not by a format's writer."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from instar_core.completing import completed
from instar_core.dataplane.coding import CodecPool
from instar_core.dataplane.differing import Bare, differing
from instar_core.dataplane.pairing import BARE, OPEN, SAME, stretches
from instar_core.piece import Piece
from instar_core.types import Coding, Kind, Run

SECTOR = 512
BLANK = "?"


class Backing:
    """A chain below an image: a sparse file with its content, and the pieces that tell it."""

    def __init__(self, path: Path, sectors: int, chance: random.Random, like: bytes = b"") -> None:
        self.content = bytearray(sectors * SECTOR)
        self.zero = [chance.random() < 0.3 for _ in range(sectors)]
        for number in range(sectors):
            span = slice(number * SECTOR, number * SECTOR + SECTOR)
            if self.zero[number]:
                continue
            if like and chance.random() < 0.7:
                self.content[span] = like[span].ljust(SECTOR, b"\0")
            elif chance.random() < 0.7:
                self.content[span] = bytes([chance.randrange(1, 4)]) * SECTOR
        path.write_bytes(self.content)
        self.size = len(self.content)
        self.descriptor = os.open(path, os.O_RDONLY)

    def piece(self, number: int, depth: int) -> Piece:
        """The sector as this chain tells it."""
        at = number * SECTOR
        if at >= self.size or self.zero[number]:
            return Piece(at, SECTOR, True, depth=depth)
        return Piece(at, SECTOR, False, self.descriptor, at, depth=depth, limit=self.size)

    def read(self, at: int, length: int) -> bytes:
        """What it reads there; zeros past its end."""
        return bytes(self.content[at : at + length]).ljust(length, b"\0")


@pytest.mark.parametrize("seed", range(40))
def test_a_disk_reads_as_before_when_what_differs_was_written(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    sectors = chance.randrange(1, 400)
    unit = SECTOR * chance.choice((1, 2, 8, 16, 128))
    size = sectors * SECTOR
    old = Backing(tmp_path / "old", chance.randrange(1, sectors + 20), chance)
    new = Backing(tmp_path / "new", chance.randrange(1, sectors + 20), chance, bytes(old.content))
    own = Backing(tmp_path / "own", sectors, chance)
    mine = _mine(chance, sectors)

    def first() -> Iterator[Piece]:
        for number in range(sectors):
            yield own.piece(number, 0) if mine[number] else old.piece(number, 1)

    def second() -> Iterator[Piece]:
        for number in range(min(sectors, new.size // SECTOR)):
            yield new.piece(number, 0)

    before = b"".join((own if mine[number] else old).read(number * SECTOR, SECTOR) for number in range(sectors))
    after = bytearray(
        b"".join((own if mine[number] else new).read(number * SECTOR, SECTOR) for number in range(sectors))
    )
    bare = Bare()
    written: set[int] = set()
    with CodecPool("inline") as pool:
        end = 0
        for piece in differing(stretches(first(), second(), unit, size, lambda one: one.descriptor), unit, pool, bare):
            assert piece.start >= end, "pieces ascend"
            if piece.start != end:
                assert piece.start % unit == 0 and end % unit == 0, "whole units are written"
            end = piece.start + piece.length
            content = bytes(piece.length) if piece.zero else os.pread(piece.descriptor, piece.length, piece.offset)
            after[piece.start : end] = content.ljust(piece.length, b"\0")
            written.update(range(piece.start // unit, -(-end // unit)))
        assert end % unit == 0 or end == size
    assert bytes(after) == before
    for number in written:
        assert _needed(number * unit, min(unit, size - number * unit), unit, before, own, mine, new)


def _mine(chance: random.Random, sectors: int) -> list[bool]:
    """Which sectors the image holds itself: in stretches."""
    made: list[bool] = []
    while len(made) < sectors:
        made += [chance.random() < 0.4] * chance.randrange(1, 40)
    return made[:sectors]


def _needed(start: int, length: int, unit: int, before: bytes, own: Backing, mine: list[bool], new: Backing) -> bool:
    """Whether the unit (or one of those that are compared together with it) would read otherwise, or lies partly over
    zeros, of which nobody looks whether they are written ones."""
    step = -(-4096 // unit) * unit
    first = start // step * step
    for at in range(first, min(len(before), first + max(step, length)), SECTOR):
        if mine[at // SECTOR]:
            continue
        bare = at >= new.size or new.zero[at // SECTOR]
        if bare or before[at : at + SECTOR] != new.read(at, SECTOR):
            return True
    return False


def test_what_lies_in_the_same_place_of_the_same_file_is_not_read() -> None:
    old = iter([Piece(0, 8192, False, 998, 65536, depth=1)])
    new = iter([Piece(0, 8192, False, 999, 65536)])
    assert list(stretches(old, new, 4096, 8192, lambda _: "the ancestor")) == []


@pytest.mark.parametrize(
    "change",
    [
        {"offset": 66048},
        {"stored": 100},
        {"coding": Coding("deflate-12", 65536)},
        {"skip": 512},
        {"origin": 512},
    ],
)
def test_what_is_read_in_another_way_from_the_same_file_is_compared(tmp_path: Path, change: dict[str, Any]) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * 131072)
    descriptor = os.open(path, os.O_RDONLY)
    old = Piece(0, 8192, False, descriptor, 65536, depth=1)
    new = Piece(0, 8192, False, descriptor, 65536)._replace(**change)
    (found,) = stretches(iter([old]), iter([new]), 4096, 8192, lambda _: "the file")
    assert (found.start, found.stop, found.known) == (0, 8192, OPEN)
    os.close(descriptor)


def test_the_holes_of_a_file_count_as_zeros(tmp_path: Path) -> None:
    path = tmp_path / "sparse"
    with path.open("wb") as file:
        file.truncate(1 << 20)
        file.seek(512 << 10)
        file.write(b"y" * 4096)
    descriptor = os.open(path, os.O_RDONLY)
    if os.lseek(descriptor, 0, os.SEEK_DATA) == 0:
        pytest.skip("this file system keeps no holes")
    whole = Piece(0, 1 << 20, False, descriptor, 0, depth=1, limit=1 << 20)
    zeros = Piece(0, 1 << 20, True)
    found = list(stretches(iter([whole]), iter([zeros]), 65536, 1 << 20, lambda one: one.descriptor))
    assert [(one.start, one.stop, one.known) for one in found] == [(512 << 10, (512 << 10) + 65536, BARE)]
    os.close(descriptor)


def test_one_unit_of_which_a_part_is_open_is_open(tmp_path: Path) -> None:
    descriptors = []
    for name in ("old", "new"):
        (tmp_path / name).write_bytes(b"z" * 8192)
        descriptors.append(os.open(tmp_path / name, os.O_RDONLY))
    old = [Piece(0, 1024, True, depth=0), Piece(1024, 7168, False, descriptors[0], 0, depth=1)]
    new = [Piece(0, 2048, True), Piece(2048, 2048, False, descriptors[1], 0), Piece(4096, 4096, True)]
    found = list(stretches(iter(old), iter(new), 4096, 8192, lambda one: one.descriptor))
    assert [(one.start, one.stop, one.known) for one in found] == [(0, 4096, OPEN), (4096, 8192, BARE)]
    assert [known for _, _, known in found[0].parts] == [SAME, BARE, OPEN]
    for descriptor in descriptors:
        os.close(descriptor)


def test_zeros_over_zeros_are_not_written_and_others_are() -> None:
    bare = Bare()
    bare.add(4096, 12288)
    bare.add(20480, 24576)
    runs = [Run(0, 8192, Kind.ZERO), Run(8192, 4096), Run(12288, 20480, Kind.ZERO)]
    assert bare.clothed(runs) == [
        Run(0, 4096, Kind.ZERO),
        Run(8192, 4096),
        Run(12288, 8192, Kind.ZERO),
        Run(24576, 8192, Kind.ZERO),
    ]
    bare.add(65536, 131072)
    assert bare.clothed([Run(65536, 4096, Kind.ZERO)]) == []
    assert bare.clothed([Run(69632, 65536, Kind.ZERO)]) == [Run(131072, 4096, Kind.ZERO)]


@pytest.mark.parametrize("seed", range(20))
def test_units_that_are_written_in_part_are_completed_from_below(seed: int) -> None:
    chance = random.Random(seed)
    unit = SECTOR * chance.choice((1, 2, 8, 64))
    size = SECTOR * chance.randrange(1, 300)
    wanted = _mine(chance, size // SECTOR)
    upper = (Piece(at * SECTOR, SECTOR, False, 1) for at in range(size // SECTOR) if wanted[at])
    asked: list[int] = []

    def rest(start: int, stop: int) -> Iterator[Piece]:
        asked.append(start)
        yield Piece(start, stop - start, False, 2)

    touched = {at * SECTOR // unit for at in range(size // SECTOR) if wanted[at]}
    shown = [BLANK] * (size // SECTOR)
    end = 0
    for piece in completed(upper, unit, size, rest):
        assert piece.start >= end
        end = piece.start + piece.length
        for at in range(piece.start // SECTOR, end // SECTOR):
            shown[at] = str(piece.descriptor)
    expected = ["1" if wanted[at] else "2" if at * SECTOR // unit in touched else BLANK for at in range(size // SECTOR)]
    assert shown == expected
    assert asked == sorted(asked)
