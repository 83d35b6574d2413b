"""The door believes only what is well formed and lies inside."""

from __future__ import annotations

import random

import pytest

from instar_core import columns, limits, validate, validate_map, wire
from instar_core.errors import ContractViolation, FormatError
from instar_core.types import Coding, Extent, Finding, Geometry, ImageInfo, KeyPlan, Kind, Reference, Role, Tally

INFO = ImageInfo("toy", 1 << 20, partial=False, codings=(Coding("zlib", 65536), Coding("cipher", 512, whole=False)))
SIZES = [1 << 20]


def crossed(value: object) -> object:
    """The value as the host receives it."""
    return wire.decode(wire.encode(value))


def passed(*extents: Extent, start: int = 0, length: int = 131072, info: ImageInfo = INFO) -> list[Extent]:
    """What the host takes in of a plugin's extents: all that passes, or the error."""
    batches = [columns.unpack(columns.pack(columns.of(extents)))]
    return [
        each for batch in validate_map.columns(batches, start, length, info, SIZES) for each in columns.extents(batch)
    ]


def test_extents_that_ascend_touch_cover_and_lie_inside_pass() -> None:
    good = [Extent(0, 65536, Kind.DATA, 0, 65536), Extent(65536, 65536, Kind.ZERO)]
    assert passed(*good) == good


@pytest.mark.parametrize(
    "extents",
    [
        [Extent(0, 65536, Kind.ZERO)],
        [Extent(0, 65536, Kind.ZERO), Extent(65537, 65535, Kind.ZERO)],
        [Extent(0, 65536, Kind.ZERO), Extent(0, 65536, Kind.ZERO)],
        [Extent(0, 262144, Kind.ZERO)],
        [Extent(0, 0, Kind.ZERO), Extent(0, 131072, Kind.ZERO)],
        [Extent(0, 131072, 3)],
        [Extent(0, 131072, Kind.DATA)],
        [Extent(0, 131072, Kind.DATA, 1, 0)],
        [Extent(0, 131072, Kind.DATA, 0, 0, 7)],
        [Extent(0, 131072, Kind.DATA, 0, 0, 0, 3)],
        [Extent(0, 131072, Kind.DATA, 0, 0, 100, 1)],
        [Extent(0, 65536, Kind.DATA, 0, 0, 0, 1), Extent(65536, 65536, Kind.ZERO)],
        [Extent(0, 131072, Kind.DATA, 0, 0, 512, 2)],
        [Extent(0, 131072, Kind.ZERO, 0, -2)],
    ],
)
def test_a_wrong_shape_is_the_plugins_fault(extents: list[Extent]) -> None:
    with pytest.raises(ContractViolation):
        passed(*extents)


def test_what_passes_before_an_extent_that_is_refused_is_given() -> None:
    good, bad = Extent(0, 65536, Kind.DATA, 0, 0), Extent(65536, 65536, Kind.DATA, 0, 1 << 20)
    stream = validate_map.columns([columns.of([good, bad])], 0, 131072, INFO, SIZES)
    assert list(columns.extents(next(stream))) == [good]
    with pytest.raises(FormatError, match="outside the file"):
        next(stream)


def test_a_batch_that_does_not_begin_where_the_last_one_ended_is_refused() -> None:
    one, other = columns.of([Extent(0, 512, Kind.ZERO)]), columns.of([Extent(1024, 512, Kind.ZERO)])
    with pytest.raises(ContractViolation, match="a gap or an overlap at 512: the next extent is 1024"):
        list(validate_map.columns([one, other], 0, 1536, INFO, SIZES))


def test_looking_at_columns_refuses_what_looking_at_extents_does() -> None:
    """Batches at random, right and wrong in one place, against the rules read one extent after the other."""
    rng = random.Random(4)
    verdicts = set()
    for _ in range(3000):
        info = INFO._replace(partial=rng.random() < 0.3)
        made = [ordinary(rng, at) for at in range(0, 131072, 8192)]
        if rng.random() < 0.7:
            spot = rng.randrange(len(made))
            field = rng.choice(("kind", "device", "offset", "stored", "coding", "skip"))
            value = rng.choice((0, 1, 2, 3, 512, 8192, (1 << 20) - 8191, 1 << 20, 1 << 62, (1 << 63) - 1, -1, -2))
            if (field != "offset" and value < 0) or (field not in ("offset", "stored") and value > 3):
                continue  # which no frame can hold
            made[spot] = made[spot]._replace(**{field: value})
        batch = columns.unpack(columns.pack(columns.of(made)))
        alone = [columns.of([extent]) for extent in made]
        verdict = told([batch], info)
        assert verdict == told(alone, info)
        verdicts.add(verdict[1])
    assert verdicts == {None, "FormatError", "ContractViolation"}


def ordinary(rng: random.Random, at: int) -> Extent:
    kind = rng.choice((Kind.DATA, Kind.DATA, Kind.ZERO, Kind.ABSENT))
    place = rng.randrange(1 << 20 >> 13) << 13
    return Extent(at, 8192, kind, 0, place if kind == Kind.DATA or rng.random() < 0.2 else -1)


def told(batches: list[columns.Columns], info: ImageInfo) -> tuple[list[Extent], str | None, str]:
    """The extents that pass, and the error that ends them."""
    passing: list[Extent] = []
    try:
        for batch in validate_map.columns(batches, 0, 131072, info, SIZES):
            passing += columns.extents(batch)
    except (ContractViolation, FormatError) as error:
        return passing, type(error).__name__, error.message
    return passing, None, ""


def test_an_extent_outside_its_device_is_the_images_fault_and_names_the_offset() -> None:
    with pytest.raises(FormatError) as caught:
        passed(Extent(0, 131072, Kind.DATA, 0, (1 << 20) - 65536))
    assert caught.value.offset == (1 << 20) - 65536


def test_a_format_with_a_short_last_unit_may_point_past_the_end() -> None:
    assert passed(Extent(0, 131072, Kind.DATA, 0, (1 << 20) - 5), info=INFO._replace(partial=True))


def test_an_absurdly_long_stored_piece_is_refused() -> None:
    with pytest.raises(FormatError, match="too long"):
        passed(Extent(0, 65536, Kind.DATA, 0, 0, 1 << 19, 1), Extent(65536, 65536, Kind.ZERO))


def test_an_info_comes_back_as_records() -> None:
    info = ImageInfo("toy", 5, references=(Reference(Role.BACKING, b"base", "raw"),))
    assert validate.image_info(crossed(info), "toy") == info


@pytest.mark.parametrize(
    "change",
    [
        {"virtual_size": -1},
        {"virtual_size": "5"},
        {"virtual_size": True},
        {"references": ((1, 2, 3, 4),)},
        {"references": (("backing", "text", None, {}),)},
        {"codings": (("zlib", 0, True, {}),)},
        {"dirty": 1},
        {"details": ()},
        {"format": "other"},
    ],
)
def test_an_info_of_the_wrong_shape_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(ContractViolation):
        validate.image_info(crossed(ImageInfo("toy", 5)._replace(**change)), "toy")


def test_too_many_references_and_too_long_names_are_the_images_fault() -> None:
    many = (Reference(Role.EXTENT, b"x"),) * (limits.REFERENCES + 1)
    with pytest.raises(FormatError, match="more than"):
        validate.image_info(crossed(ImageInfo("toy", 5, references=many)), "toy")
    with pytest.raises(FormatError, match="too long"):
        validate.image_info(crossed(ImageInfo("toy", 5, references=(Reference(Role.DATA, b"x" * 5000),))), "toy")


def test_a_virtual_size_past_every_offset_is_refused() -> None:
    with pytest.raises(FormatError, match="too large"):
        validate.image_info(tuple(ImageInfo("toy", (1 << 63) - 1)), "toy")


def test_findings_and_tally_pass_and_nothing_else() -> None:
    assert list(validate.findings((("Finding", tuple(Finding(1, "x"))), ("Tally", tuple(Tally(5)))))) == [
        Finding(1, "x"),
        Tally(5),
    ]
    with pytest.raises(ContractViolation):
        list(validate.findings((("Extent", ()),)))


def test_a_geometry_needs_a_possible_unit() -> None:
    assert validate.geometry(tuple(Geometry(512, 1024))) == Geometry(512, 1024)
    with pytest.raises(ContractViolation):
        validate.geometry(tuple(Geometry(0, 1024)))
    with pytest.raises(ContractViolation):
        validate.geometry(tuple(Geometry(limits.UNIT * 2, 1024)))


def test_a_key_plan_has_one_material_for_each_slot() -> None:
    with pytest.raises(ContractViolation):
        validate.key_plan(("aes", 32, (), (b"x",), {}))
    assert validate.key_plan(("aes", 32, (), (), {})) == KeyPlan("aes", 32, (), (), {})
