"""The reference tally, compared with counting one by one."""

from __future__ import annotations

import random

import pytest

from instar_core import tally as tally_module
from instar_core.tally import MANY, PAGE, ReferenceTally, narrow_table, unequal, wide_entry


@pytest.mark.parametrize("compact", [1, 2, tally_module.COMPACT])
@pytest.mark.parametrize("ceiling", [1, 3, 15, 254, 255, 300, 65535])
def test_counts_are_those_of_counting_one_by_one(ceiling, compact, monkeypatch):
    monkeypatch.setattr(tally_module, "COMPACT", compact)
    monkeypatch.setattr(tally_module, "DENSE", 2 * compact)
    choice = random.Random(ceiling)
    tally = ReferenceTally(ceiling)
    counts = {}
    for _ in range(600):
        first = choice.choice([0, 5, PAGE - 3, PAGE, 3 * PAGE - 1])
        count = choice.choice([1, 1, 2, 7, PAGE, 2 * PAGE])
        full = []
        for unit in range(first, first + count):
            if counts.get(unit, 0) >= ceiling:
                full.append(unit)
            else:
                counts[unit] = counts.get(unit, 0) + 1
        assert tally.add(first, count) == full
    for unit in {0, 1, 5, 6, PAGE - 3, PAGE, PAGE + 1, 3 * PAGE - 1, 3 * PAGE, 6 * PAGE}:
        assert tally[unit] == counts.get(unit, 0)
    narrow = tally.narrow(3, 4 * PAGE)
    assert list(narrow) == [min(counts.get(unit, 0), MANY) for unit in range(3, 3 + 4 * PAGE)]


def test_whole_pages_cost_no_bytes():
    tally = ReferenceTally(65535)
    tally.add(0, 100_000 * PAGE)
    assert not tally._dense
    tally.add(1)
    assert tally[1] == 2
    assert tally[2] == tally[99_999 * PAGE] == 1


def test_pages_that_became_uniform_are_folded():
    tally = ReferenceTally(65535)
    for start in range(0, 2000 * PAGE, PAGE // 2):
        tally.add(start, PAGE // 2)
    assert len(tally._dense) < 600
    assert tally.narrow(0, 2000 * PAGE) == b"\1" * (2000 * PAGE)


def test_pages_with_a_gap_each_take_hardly_any_memory():
    tally = ReferenceTally(65535)
    pages = 12_000  # 24 TiB of clusters of 64 KiB
    for number in range(pages):
        tally.add(number * PAGE, PAGE // 2)
        tally.add(number * PAGE + PAGE // 2 + 1, PAGE // 2 - 1)
    assert len(tally._dense) <= tally_module.COMPACT
    assert sum(map(len, tally._packed.values())) < 200 * pages
    assert tally[7 * PAGE + PAGE // 2] == 0
    assert tally[7 * PAGE] == tally[(pages - 1) * PAGE + 5] == 1
    assert tally.narrow(9 * PAGE, PAGE).count(1) == PAGE - 1


def test_references_all_over_an_image_keep_their_pages_open():
    tally = ReferenceTally(65535)
    for turn in range(40):
        for number in range(1000):
            tally.add(number * PAGE + 17 * turn)
    assert len(tally._dense) == 1000
    assert tally[999 * PAGE + 17] == tally[5 * PAGE] == 1


def test_only_pages_with_references_are_visited():
    tally = ReferenceTally(65535)
    tally.add(5 * PAGE + 7)
    assert list(tally.referenced(0, 1 << 30)) == [(5 * PAGE, PAGE)]
    assert list(tally.referenced(5 * PAGE + 8, 3)) == [(5 * PAGE + 8, 3)]
    assert list(tally.referenced(0, 5 * PAGE)) == []
    assert list(tally.referenced(30, 0)) == []


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16, 32, 64])
def test_a_table_of_any_width_is_narrowed_exactly(bits):
    choice = random.Random(bits)
    values = [choice.choice([0, 1, 1, 1, choice.getrandbits(bits), (1 << bits) - 1]) for _ in range(512)]
    if bits >= 8:
        table = b"".join(value.to_bytes(bits // 8, "big") for value in values)
    else:
        table = bytearray(512 * bits // 8)
        for index, value in enumerate(values):
            table[index * bits // 8] |= value << index * bits % 8
        table = bytes(table)
    assert list(narrow_table(table, bits)) == [min(value, MANY) for value in values]
    assert [wide_entry(table, bits, index) for index in range(512)] == values


def test_unequal_places_and_those_bytes_cannot_tell_are_named():
    left, right = bytearray(2000), bytearray(2000)
    left[3] = 1
    right[1500] = 2
    left[700] = right[700] = MANY
    assert list(unequal(bytes(left), bytes(right))) == [3, 700, 1500]
    assert list(unequal(bytes(9), bytes(9))) == []
