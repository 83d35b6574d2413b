"""Pieces kept for the next look are those that were told."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from instar_core.dataplane import windows
from instar_core.dataplane.windows import FEW, SIZE, Windows
from instar_core.errors import ContractViolation
from instar_core.piece import Piece
from instar_core.types import Coding

KIB = 1 << 10
END = 3 * SIZE + 5000
UNIT = 64 * KIB
CODING = Coding("deflate", UNIT)


class Source:
    """A disk of which every other 192 KiB are a hole, the rest plain or encoded by turns. It counts questions."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, int]] = []

    def __call__(self, start: int, length: int) -> Iterator[Piece]:
        self.asked.append((start, length))
        at = start
        while at < start + length:
            number, inside = divmod(at, UNIT)
            step = min(UNIT - inside, start + length - at)
            if number // 3 % 2:
                yield Piece(at, step, True)
            elif number % 2:
                yield Piece(at, step, False, 7, number * 4096, 4096, CODING, inside)
            else:
                yield Piece(at, step, False, 7, (1 << 40) + at)
            at += step


def flat(pieces: Iterator[Piece]) -> list[Piece]:
    """The pieces, without the places of those that have none."""
    return [piece._replace(offset=0) if piece.zero else piece for piece in pieces]


def test_every_stretch_is_told_as_the_source_tells_it_and_each_window_asked_for_once() -> None:
    source, chosen = Source(), random.Random(5)
    kept = Windows(source, END)
    for _ in range(400):
        start = chosen.randrange(END)
        length = chosen.randrange(1, min(END - start, 300 * KIB) + 1)
        assert flat(kept.pieces(start, length)) == flat(Source()(start, length))
    assert flat(kept.pieces(END - 6000, 6000)) == flat(Source()(END - 6000, 6000))
    assert len(source.asked) == 4
    assert sorted(source.asked)[-1] == (3 * SIZE, 5000)


def test_a_long_stretch_is_asked_for_as_it_is() -> None:
    source = Source()
    kept = Windows(source, 64 * SIZE)
    assert sum(piece.length for piece in kept.pieces(5, FEW * SIZE)) == FEW * SIZE
    assert source.asked == [(5, FEW * SIZE)]


def test_what_was_used_longest_ago_is_forgotten_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(windows, "MOST", 2 * SIZE // UNIT)
    source = Source()
    kept = Windows(source, 8 * SIZE)
    for number in (0, 1, 0, 2, 0, 1):
        assert flat(kept.pieces(number * SIZE + 7, 9))
    assert [start // SIZE for start, _ in source.asked] == [0, 1, 2, 1]


def test_pieces_that_leave_the_window_are_refused() -> None:
    kept = Windows(lambda start, length: iter([Piece(start, length + 1, True)]), END)
    with pytest.raises(ContractViolation, match="does not follow"):
        list(kept.pieces(0, 10))
