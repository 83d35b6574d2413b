"""Extents and ranges in columns are the same extents and ranges."""

from __future__ import annotations

import random
from types import SimpleNamespace
from typing import Any

import pytest

from instar_core import columns, limits, mapranges
from instar_core.columns import Columns
from instar_core.errors import ContractViolation, FormatError
from instar_core.results import MapRange
from instar_core.types import NOWHERE, Coding, Extent, ImageInfo, Kind

MEMBER: Any = SimpleNamespace(
    info=ImageInfo("toy", 1 << 40, codings=(Coding("zlib", 65536), Coding("cipher", 512, whole=False))),
    devices=[SimpleNamespace(path="a"), SimpleNamespace(path="b")],
)


def crossed(extents: list[Extent]) -> list[Extent]:
    return list(columns.extents(columns.unpack(columns.pack(columns.of(extents)))))


def random_extents(rng: random.Random, number: int) -> list[Extent]:
    """Extents that touch; many continue the one before."""
    made: list[Extent] = []
    at = rng.randrange(1 << 40)
    for _ in range(number):
        length = rng.choice((512, 65536, rng.randrange(1, 1 << 30)))
        kind, coding = rng.choice((Kind.DATA, Kind.DATA, Kind.ZERO, Kind.ABSENT)), rng.choice((0, 0, 0, 1, 2))
        offset = rng.choice((NOWHERE, rng.randrange(1 << 50)))
        if kind == Kind.DATA or not coding:
            offset = max(offset, 0) if kind == Kind.DATA else offset
        extent = Extent(at, length, kind, rng.randrange(2), offset, 0, coding if kind == Kind.DATA else 0)
        if made and rng.random() < 0.5:
            before = made[-1]
            follows = before.offset + before.length if before.offset >= 0 else NOWHERE
            extent = before._replace(start=at, length=length, offset=follows)
        made.append(extent)
        at += length
    return made


def test_extents_cross_as_they_are() -> None:
    extents = [Extent(0, 1 << 40, 0, 3, 1 << 50, 1 << 20, 2, 77, 1), Extent(1 << 40, 6, 2)]
    assert crossed(extents) == extents
    assert crossed(extents[:1]) == extents[:1]
    rng = random.Random(1)
    for number in (1, 2, 3, 100, limits.BATCH):
        extents = random_extents(rng, number)
        assert crossed(extents) == extents


def test_a_column_of_one_value_takes_no_room() -> None:
    many = [Extent(65536 * at, 65536, Kind.DATA, 1, at << 32) for at in range(limits.BATCH)]
    assert len(columns.pack(columns.of(many))) < 8 * limits.BATCH + 100


def test_extents_that_do_not_touch_have_no_columns() -> None:
    with pytest.raises(ContractViolation, match=r"a gap or an overlap at 512: the next extent is 1024\+512"):
        columns.of([Extent(0, 512, 1), Extent(1024, 512, 1)])
    with pytest.raises(ContractViolation, match=r"a gap or an overlap at 512: the next extent is 0\+512"):
        columns.of([Extent(0, 512, 1), Extent(0, 512, 1)])


@pytest.mark.parametrize("given", [[(0, 1, 2)], [Extent(0, "x", 1), Extent(1, 1, 1)]])  # type: ignore[arg-type]
def test_what_is_no_extent_has_no_columns(given: Any) -> None:
    with pytest.raises(ContractViolation):
        columns.of(given)


def test_an_extent_past_every_offset_is_the_images_fault_and_a_nonsense_field_the_plugins() -> None:
    for extents in ([Extent(0, 1, 0, 0, 1 << 63)], [Extent(0, 1, 0, 0, 5), Extent(1, 1, 0, 0, 1 << 63)]):
        with pytest.raises(FormatError, match="no place"):
            columns.pack(columns.of(extents))
    for wrong in ({"start": -1}, {"length": -1}, {"kind": 256}, {"device": -1}, {"stored": "x"}, {"flags": 1.5}):
        with pytest.raises(ContractViolation):
            columns.pack(columns.of([Extent(0, 1, 0)._replace(**wrong)]))
        with pytest.raises(ContractViolation):
            start = Extent(0, 1, 0)._replace(**wrong)
            columns.pack(columns.of([start, Extent(start.start + start.length, 3, 1)]))


def test_columns_that_are_not_as_long_as_they_say_are_refused() -> None:
    with pytest.raises(ContractViolation, match="2 values is not one of 3 extents"):
        columns.pack(Columns(3, 0, [1, 2], 0))


def test_a_frame_that_is_cut_short_or_too_long_or_of_no_shape_is_refused() -> None:
    whole = columns.pack(columns.of(random_extents(random.Random(2), 7)))
    for at in range(len(whole)):
        with pytest.raises(ContractViolation):
            columns.unpack(whole[:at])
    with pytest.raises(ContractViolation):
        columns.unpack(whole + b"\0")
    for number in (0, limits.BATCH + 1, (1 << 32) - 1):
        with pytest.raises(ContractViolation, match="not possible"):
            columns.unpack(number.to_bytes(4, "little") + whole[4:])
    for how in range(2, 256):
        with pytest.raises(ContractViolation):
            columns.unpack(whole[:12] + bytes([how]) + whole[13:])


def test_random_frames_never_do_more_than_raise_a_contract_violation() -> None:
    rng = random.Random(3)
    for _ in range(5000):
        body = bytes(rng.choice(b"\0\0\0\1\2\xff") for _ in range(rng.randrange(120)))
        try:
            found = columns.unpack(body)
        except ContractViolation:
            continue
        assert len(list(columns.extents(found))) == found.number


def test_a_stream_is_its_extents_one_by_one() -> None:
    extents = random_extents(random.Random(4), 50)
    stream = columns.Stream(iter([columns.of(extents[:20]), columns.of(extents[20:])]))
    assert list(stream) == extents


def plain(extents: list[Extent]) -> list[MapRange]:
    """The ranges of extents by the rules, one after the other."""
    made: list[MapRange] = []
    for start, length, kind, device, offset, _, coding, _, _ in extents:
        place = None if offset == NOWHERE or coding else offset
        path = MEMBER.devices[device].path if place is not None else ""
        data = kind == Kind.DATA
        new = MapRange(start, length, 0, kind != Kind.ABSENT, not data, data, coding == 1, place, path)
        old = made[-1] if made else None
        if old is not None and (old[2:7], old.filename) == (new[2:7], path):
            follows = None if old.offset is None else old.offset + old.length
            if place == follows:
                made[-1] = old._replace(length=old.length + length)
                continue
        made.append(new)
    return made


def test_ranges_in_columns_are_the_ranges_with_neighbours_made_one() -> None:
    rng = random.Random(5)
    joined = 0
    for _ in range(300):
        extents = random_extents(rng, rng.randrange(1, 60))
        looks = mapranges.Looks(MEMBER, 0)
        pieces, rest = [], extents
        while rest:
            some = rng.randrange(1, len(rest) + 1)
            pieces.append(columns.of(rest[:some]))
            rest = rest[some:]
        found = [
            each for batch in mapranges.joined(mapranges.of_columns(piece, looks) for piece in pieces) for each in batch
        ]
        assert found == plain(extents)
        joined += len(extents) - len(found)
    assert joined > 1000
