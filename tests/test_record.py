"""The light named tuple behaves as typing.NamedTuple does."""

from __future__ import annotations

import pytest

from instar_core.record import NamedTuple
from instar_core.types import Extent, FormatSpec


class Pair(NamedTuple):
    left: int
    right: int = 7


def test_a_record_is_a_tuple_with_named_fields_and_defaults() -> None:
    pair = Pair(1)
    assert pair == (1, 7)
    assert (pair.left, pair.right) == (1, 7)
    assert Pair(left=2, right=3) == Pair(2, 3)
    assert pair._replace(left=5) == (5, 7)
    assert pair._asdict() == {"left": 1, "right": 7}
    assert repr(pair) == "Pair(left=1, right=7)"
    assert Pair._make([8, 9]) == Pair(8, 9)


@pytest.mark.parametrize("call", [Pair, lambda: Pair(1, 2, 3), lambda: Pair(1, wrong=2), lambda: Pair(1, left=2)])
def test_wrong_arguments_are_refused(call: object) -> None:
    with pytest.raises(TypeError):
        call()  # type: ignore[operator]


def test_a_record_can_be_matched_and_is_immutable() -> None:
    match Pair(1, 2):
        case Pair(left, right):
            assert (left, right) == (1, 2)
    with pytest.raises(AttributeError):
        Pair(1).left = 3  # type: ignore[misc]


def test_a_field_without_default_may_not_follow_one_with() -> None:
    with pytest.raises(TypeError, match="follows one with a default"):

        class Wrong(NamedTuple):
            first: int = 1
            second: int


def test_the_contract_types_use_it() -> None:
    assert Extent(0, 1, 0).offset == -1
    assert FormatSpec("x", "y").capabilities == frozenset()
