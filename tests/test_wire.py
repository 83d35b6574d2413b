"""What crosses the wire comes back the same, and nothing malformed passes."""

from __future__ import annotations

import random

import pytest

from instar_core import limits, wire
from instar_core.errors import ContractViolation
from instar_core.types import Barrier, Copy, Extent, Punch, Put, Reserve, Run, Truncate, Zero


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        False,
        0,
        -1,
        1 << 64,
        -(1 << 63),
        "",
        "näme\udcff",
        b"",
        b"\x00\xff",
        (),
        (1, (2, "x"), b"y"),
        {"a": {"b": ()}},
    ],
)
def test_a_value_comes_back_equal(value: object) -> None:
    assert wire.decode(wire.encode(value)) == value


def test_lists_and_records_come_back_as_tuples() -> None:
    assert wire.decode(wire.encode([1, Extent(0, 1, 2)])) == (1, tuple(Extent(0, 1, 2)))


def test_what_is_not_plain_data_does_not_cross() -> None:
    with pytest.raises(TypeError):
        wire.encode(object())


def test_random_bytes_never_do_more_than_raise_a_contract_violation() -> None:
    random_ = random.Random(1)
    alphabet = b"NTFisbld\x00\x01\x02\xff"
    for _ in range(20000):
        body = bytes(random_.choice(alphabet) for _ in range(random_.randrange(24)))
        try:
            wire.decode(body)
        except ContractViolation:
            continue


def test_deep_nesting_and_huge_counts_are_refused() -> None:
    with pytest.raises(ContractViolation):
        wire.decode(b"l\x01\x00\x00\x00" * (limits.WIRE_DEPTH + 2) + b"N")
    with pytest.raises(ContractViolation):
        wire.decode(b"l\xff\xff\xff\xff")


def test_bytes_left_over_are_refused() -> None:
    with pytest.raises(ContractViolation, match="left over"):
        wire.decode(wire.encode(1) + b"N")


def test_runs_come_back_equal() -> None:
    runs = [Run(0, 65536, 0, 17, 1), Run(1 << 60, 512, 1)]
    assert list(wire.unpack_runs(wire.pack_runs(runs))) == runs


def test_edits_come_back_equal_and_in_order() -> None:
    edits = [
        Put(5, b"abc", 1),
        Copy(1, 2, 3, 4),
        Zero(1, 2),
        Punch(3, 4, 1),
        Reserve(0, 9, "full"),
        Truncate(1 << 60, 2),
        Barrier(),
        Put(0, b""),
    ]
    assert list(wire.unpack_edits(b"".join(wire.pack_edit(edit) for edit in edits))) == edits


@pytest.mark.parametrize("body", [b"\x00", wire.EDIT.pack(9, 0, 0, 0, 0), wire.EDIT.pack(0, 0, 0, 5, 0) + b"abc"])
def test_malformed_edits_are_refused(body: bytes) -> None:
    with pytest.raises(ContractViolation):
        list(wire.unpack_edits(body))
